#include "t.h"

static void bye(void) { write(1, "atexit\n", 7); }
__attribute__((destructor)) static void d(void) { write(1, "destructor\n", 11); }
int main(void) {
  CHILD("exit", atexit(bye); exit(5));
  CHILD("_exit", atexit(bye); _exit(6));
  CHILD("quick_exit", at_quick_exit(bye); quick_exit(7));
  CHILD("exit from the main thread's syscall", syscall(SYS_exit, 8));
  CHILD("exit_group", syscall(SYS_exit_group, 0x1ff));
  CHILD("assert", signal(SIGABRT, SIG_IGN); abort());
  CHILD("trap", __builtin_trap());
  CHILD("SIGALRM", alarm(1); pause());
  CHILD("SIGRTMAX", raise(SIGRTMAX));
  CHILD("SIGSTKFLT", raise(SIGSTKFLT));
  CHILD("SIGCHLD", raise(SIGCHLD));
  CHILD("nested", CHILD("inner", _exit(3)); _exit(4));
  return 9;
}
