#include "t.h"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
int main(void) {
  int q = msgget(IPC_PRIVATE, 0600);
  struct {
    long t;
    char b[20];
  } m = {3, "three"}, r;
  R(msgsnd(q, &m, 6, 0));
  m.t = 1, strcpy(m.b, "one");
  R(msgsnd(q, &m, 4, 0));
  R(msgrcv(q, &r, 20, -2, 0));
  puts(r.b);
  R(msgrcv(q, &r, 2, 0, 0));
  R(msgrcv(q, &r, 2, 0, MSG_NOERROR));
  R(msgrcv(q, &r, 20, 0, IPC_NOWAIT));
  m.t = 0;
  R(msgsnd(q, &m, 4, 0));
  R(msgctl(q, IPC_RMID, 0));
  R(msgrcv(q, &r, 20, 0, 0));
  int s = semget(IPC_PRIVATE, 2, 0600);
  struct sembuf up = {0, 2, 0}, down = {0, -3, IPC_NOWAIT}, zero = {1, 0, 0};
  R(semop(s, &up, 1));
  R(semop(s, &down, 1));
  R(semop(s, &zero, 1));
  R(semctl(s, 0, GETVAL));
  CHILD("undo", struct sembuf u = {0, -1, SEM_UNDO}; R(semop(s, &u, 1)); R(semctl(s, 0, GETVAL)));
  R(semctl(s, 0, GETVAL));
  R(semctl(s, 5, GETVAL));
  R(semop(s, &up, 0));
  R(semctl(s, 0, IPC_RMID));
  R(semop(s, &up, 1));
  int h = shmget(IPC_PRIVATE, 5000, 0600);
  int *p = shmat(h, 0, 0), *o = shmat(h, 0, SHM_RDONLY);
  struct shmid_ds d;
  R(shmctl(h, IPC_STAT, &d));
  printf("%ld %ld\n", (long)d.shm_segsz, (long)d.shm_nattch);
  *p = 5;
  CHILD("child", *p += *o);
  N(*o);
  R(shmctl(h, IPC_RMID, 0));
  R(shmdt(o));
  R(shmdt(o));
  N(*p);
  R(shmdt(p));
  OK(shmget(IPC_PRIVATE, 0, 0600));
  OK(shmget(0x4e56, 100, 0));
  return 0;
}
