/* A worse machine for the processes that preload this: the system clock steps, and what they send by UDP is lost or
   late. LUMPER_HARDSHIP names a file of three doubles, read at each call: probability of loss 0..1, largest delay in s
   (drawn evenly, so that datagrams overtake one another), and what CLOCK_REALTIME is ahead by, s. Built by
   test_hardship.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct hardship {
  double loss, delay_s, clock_s;
};

static const volatile struct hardship* now_;

__attribute__((constructor)) static void begin(void) {
  const char* name = getenv("LUMPER_HARDSHIP");
  const int file = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) {
    return;
  }
  void* found = mmap(NULL, sizeof(struct hardship), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (found != MAP_FAILED) {
    now_ = found;
  }
}

int clock_gettime(clockid_t clock, struct timespec* time) {
  const long failed = syscall(SYS_clock_gettime, clock, time);
  if (failed == 0 && now_ != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    const int64_t all = time->tv_sec * 1000000000LL + time->tv_nsec + (int64_t)(now_->clock_s * 1e9);
    time->tv_sec = all / 1000000000LL;
    time->tv_nsec = all % 1000000000LL;
  }
  return (int)failed;
}

int gettimeofday(struct timeval* restrict time, void* restrict zone) {
  struct timespec precise;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) {
    return -1;
  }
  time->tv_sec = precise.tv_sec;
  time->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* result) {
  struct timespec precise;
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) {
    return (time_t)-1;
  }
  if (result != NULL) {
    *result = precise.tv_sec;
  }
  return precise.tv_sec;
}

/* Deadlines on the system clock are the shifted clock's; the kernel's own is not shifted. A wait under way when the
   clock steps ends as if it had not: by the kernel's clock. */
static struct timespec unshifted(const struct timespec* until) {
  struct timespec result = *until;
  if (now_ != NULL) {
    const int64_t all = until->tv_sec * 1000000000LL + until->tv_nsec - (int64_t)(now_->clock_s * 1e9);
    result.tv_sec = all > 0 ? all / 1000000000LL : 0;
    result.tv_nsec = all > 0 ? all % 1000000000LL : 0;
  }
  return result;
}

int pthread_cond_timedwait(pthread_cond_t* restrict condition, pthread_mutex_t* restrict mutex,
                           const struct timespec* restrict until) {
  static int (*wait)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*);
  if (wait == NULL) {
    *(void**)&wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  }
  /* The bit of glibc's nptl that says which clock the condition was made for. */
  const int steady = (condition->__data.__wrefs & 2U) != 0;
  const struct timespec real = steady ? *until : unshifted(until);
  return wait(condition, mutex, &real);
}

int pthread_mutex_timedlock(pthread_mutex_t* restrict mutex, const struct timespec* restrict until) {
  static int (*wait)(pthread_mutex_t*, const struct timespec*);
  if (wait == NULL) {
    *(void**)&wait = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
  }
  const struct timespec real = unshifted(until);
  return wait(mutex, &real);
}

int sem_timedwait(sem_t* restrict semaphore, const struct timespec* restrict until) {
  static int (*wait)(sem_t*, const struct timespec*);
  if (wait == NULL) {
    *(void**)&wait = dlsym(RTLD_NEXT, "sem_timedwait");
  }
  const struct timespec real = unshifted(until);
  return wait(semaphore, &real);
}

/* Datagrams under way: each is sent by the one thread when it is due. */
struct datagram {
  struct datagram* next;
  struct timespec due;
  int socket;
  struct sockaddr_storage to;
  socklen_t to_size;
  size_t size;
  char data[];
};

static pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
static struct datagram* first_;
static pthread_once_t started_ = PTHREAD_ONCE_INIT;

static int before(const struct timespec* one, const struct timespec* other) {
  return one->tv_sec != other->tv_sec ? one->tv_sec < other->tv_sec : one->tv_nsec < other->tv_nsec;
}

static void* deliver(void* nothing) {
  (void)nothing;
  for (;;) {
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    pthread_mutex_lock(&lock_);
    struct datagram* due = first_ != NULL && before(&first_->due, &time) ? first_ : NULL;
    if (due != NULL) {
      first_ = due->next;
    }
    pthread_mutex_unlock(&lock_);
    if (due == NULL) {
      const struct timespec pause = {0, 500000};
      nanosleep(&pause, NULL);
      continue;
    }
    syscall(SYS_sendto, due->socket, due->data, due->size, MSG_NOSIGNAL, &due->to, due->to_size);
    free(due);
  }
  return NULL;
}

static void start(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, deliver, NULL) == 0) {
    pthread_detach(thread);
  }
}

static double drawn(void) {
  static __thread uint64_t state;
  if (state == 0) {
    state = 0x9E3779B97F4A7C15ULL ^ ((uint64_t)getpid() << 20) ^ (uint64_t)(uintptr_t)&state;
  }
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 9007199254740992.0;
}

ssize_t sendmsg(int socket, const struct msghdr* message, int flags) {
  const struct sockaddr* to = message->msg_name;
  if (now_ == NULL || to == NULL || to->sa_family != AF_INET || (now_->loss <= 0.0 && now_->delay_s <= 0.0)) {
    return syscall(SYS_sendmsg, socket, message, flags);
  }
  size_t size = 0;
  for (size_t k = 0; k < message->msg_iovlen; ++k) {
    size += message->msg_iov[k].iov_len;
  }
  if (drawn() < now_->loss) {
    return (ssize_t)size;
  }
  struct datagram* made = malloc(sizeof(struct datagram) + size);
  if (made == NULL) {
    errno = ENOBUFS;
    return -1;
  }
  size_t filled = 0;
  for (size_t k = 0; k < message->msg_iovlen; ++k) {
    memcpy(made->data + filled, message->msg_iov[k].iov_base, message->msg_iov[k].iov_len);
    filled += message->msg_iov[k].iov_len;
  }
  made->socket = socket;
  made->size = size;
  made->to_size = message->msg_namelen;
  memcpy(&made->to, to, message->msg_namelen);
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &made->due);
  const int64_t late_ns = made->due.tv_nsec + (int64_t)(drawn() * now_->delay_s * 1e9);
  made->due.tv_sec += late_ns / 1000000000LL;
  made->due.tv_nsec = late_ns % 1000000000LL;
  pthread_once(&started_, start);
  pthread_mutex_lock(&lock_);
  struct datagram** place = &first_;
  while (*place != NULL && before(&(*place)->due, &made->due)) {
    place = &(*place)->next;
  }
  made->next = *place;
  *place = made;
  pthread_mutex_unlock(&lock_);
  return (ssize_t)size;
}

ssize_t sendto(int socket, const void* data, size_t size, int flags, const struct sockaddr* to, socklen_t to_size) {
  struct iovec part = {(void*)data, size};
  struct msghdr message = {(void*)to, to_size, &part, 1, NULL, 0, 0};
  return to == NULL ? syscall(SYS_sendto, socket, data, size, flags, to, to_size) : sendmsg(socket, &message, flags);
}
