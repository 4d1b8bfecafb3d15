/* System V shared memory and semaphores: removal while attached, attach rules, undo, rights, limits, stat fields. */
#include "t.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
union semun { int val; struct semid_ds *buf; unsigned short *array; };
/* Bytes present of a segment, as /proc/sysvipc/shm has it. */
static long present(int id) {
  FILE *f = fopen("/proc/sysvipc/shm", "r");
  char l[500];
  int n;
  long rss = -1, v;
  while (fgets(l, 500, f))
    if (sscanf(l, "%*d %d %*o %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %ld", &n, &v) == 2 && n == id) rss = v;
  fclose(f);
  return rss;
}

int main(void) {
  int m = shmget(IPC_PRIVATE, 5000, 0600);
  N(present(m));
  char *a = shmat(m, 0, 0), *b = shmat(m, 0, SHM_RDONLY);
  C(a != (void *)-1 && b != (void *)-1);
  a[100] = 'x';
  N(b[100]);
  N(present(m));
  struct shmid_ds d;
  R(shmctl(m, IPC_STAT, &d));
  N(d.shm_nattch);
  N(d.shm_segsz);
  N(d.shm_perm.mode & 0777);
  C(d.shm_cpid == getpid());
  CHILD("inherited", shmctl(m, IPC_STAT, &d); N(d.shm_nattch); a[101] = 'y'; R(shmdt(b)); R(shmdt(b)));
  N(a[101]);
  R(shmctl(m, IPC_RMID, 0));
  R(shmctl(m, IPC_STAT, &d));
  printf("%o\n", d.shm_perm.mode & 01000);
  char *c = shmat(m, 0, 0); /* marked for destruction, still there */
  C(c != (void *)-1);
  R(shmdt(a));
  R(shmdt(b));
  R(shmdt(c));
  R(shmctl(m, IPC_STAT, &d));
  R((long)shmat(m, 0, 0));
  R(shmdt((void *)0x10000));
  R((long)shmat(12345678, 0, 0));
  m = shmget(0x4e56, 4096, IPC_CREAT | IPC_EXCL | 0600);
  R(shmget(0x4e56, 4096, IPC_CREAT | IPC_EXCL | 0600));
  C(shmget(0x4e56, 0, 0) == m);
  R(shmget(0x4e56, 8192, 0));
  R(shmget(0x4e57, 0, 0));
  R(shmget(IPC_PRIVATE, 0, 0600));
  R((long)shmat(m, (void *)0x10001, 0));
  C(shmat(m, (void *)0x20000123, SHM_RND) == (void *)0x20000000);
  R((long)shmat(m, (void *)0x20000000, 0));
  C(shmat(m, (void *)0x20000000, SHM_REMAP) == (void *)0x20000000);
  R((long)shmat(m, 0, SHM_REMAP));
  CHILD("nobody", setresuid(65534, 65534, 65534), setresgid(65534, 65534, 65534); R((long)shmat(m, 0, 0)); R(shmctl(m, IPC_RMID, 0)); R(shmctl(m, IPC_STAT, &d)); R(shmget(0x4e56, 0, 0600)));
  CHILD("exec detaches", execl("/bin/true", "true", NULL));
  shmctl(m, IPC_STAT, &d), N(d.shm_nattch);
  d.shm_perm.mode = 0666;
  R(shmctl(m, IPC_SET, &d));
  R(shmctl(m, 999, &d));
  R(shmctl(m, IPC_STAT, (void *)8));
  R(shmctl(m, IPC_RMID, 0));
  R(shmdt((void *)0x20000000));
  /* semaphores */
  int s = semget(IPC_PRIVATE, 3, 0600);
  union semun u = {.array = (unsigned short[]){1, 2, 3}};
  R(semctl(s, 0, SETALL, u));
  R(semctl(s, 2, GETVAL));
  R(semctl(s, 3, GETVAL));
  R(semctl(s, 0, SETVAL, (union semun){32768}));
  C(semctl(s, 0, GETPID) == getpid());
  R(semctl(s, 0, GETNCNT));
  R(semctl(s, 0, GETZCNT));
  R(semop(s, (struct sembuf[]){{0, -1, 0}, {1, -2, 0}, {2, -4, IPC_NOWAIT}}, 3));
  R(semctl(s, 0, GETVAL));
  R(semop(s, (struct sembuf[]){{0, 0, IPC_NOWAIT}}, 1));
  R(semop(s, (struct sembuf[]){{0, 32767, 0}}, 1));
  R(semop(s, (struct sembuf[]){{9, 1, 0}}, 1));
  R(semop(s, (void *)8, 1));
  R(semop(s, 0, 0));
  R(semop(s, (struct sembuf[501]){}, 501));
  CHILD("undo", R(semop(s, (struct sembuf[]){{0, -1, SEM_UNDO}, {1, 5, SEM_UNDO}}, 2)); R(semctl(s, 1, GETVAL)));
  R(semctl(s, 0, GETVAL));
  R(semctl(s, 1, GETVAL));
  fflush(stdout);
  if (!fork()) {
    long r = semop(s, (struct sembuf[]){{2, -10, 0}}, 1);
    ms(20);
    printf("%ld %s\n", r, strerrorname_np(errno));
    fflush(stdout);
    _exit(0);
  }
  while (semctl(s, 2, GETNCNT) < 1) ms(1);
  R(semctl(s, 0, IPC_RMID));
  wait(0);
  R(semop(s, (struct sembuf[]){{0, 1, 0}}, 1));
  struct timespec t = {0, 20000000};
  s = semget(IPC_PRIVATE, 1, 0600);
  R(semtimedop(s, (struct sembuf[]){{0, -1, 0}}, 1, &t));
  R(semctl(s, 0, IPC_RMID));
  R(semget(IPC_PRIVATE, 0, 0600));
  R(semget(IPC_PRIVATE, 100000, 0600));
  /* messages */
  struct { long t; char b[100]; } x = {1, "first"};
  int q = msgget(IPC_PRIVATE, 0600);
  R(msgsnd(q, &x, 6, 0));
  x.t = 3;
  R(msgsnd(q, &x, 6, 0));
  x.t = 2;
  R(msgsnd(q, &x, 6, 0));
  x.t = 0;
  R(msgsnd(q, &x, 6, 0));
  x.t = 1;
  R(msgsnd(q, &x, 70000, 0));
  R(msgsnd(q, &x, -1, 0));
  R(msgrcv(q, &x, 100, -2, 0));
  N(x.t);
  R(msgrcv(q, &x, 3, 0, 0));
  R(msgrcv(q, &x, 3, 0, MSG_NOERROR));
  N(x.t);
  R(msgrcv(q, &x, 100, 3, IPC_NOWAIT));
  R(msgrcv(q, &x, 100, 2, MSG_EXCEPT | IPC_NOWAIT));
  R(msgrcv(q, &x, 100, 0, IPC_NOWAIT));
  R(msgrcv(q, &x, 100, 0, IPC_NOWAIT));
  R(msgctl(q, IPC_RMID, 0));
  R(msgrcv(q, &x, 100, 0, 0));
  return 0;
}
