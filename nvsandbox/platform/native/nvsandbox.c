/*
 * The program `nvsandbox`: what comes before and after the Python of the command line.
 *
 * Before: `nvsandbox do` where sandboxes are kept ready (`nvsandbox warm`) hands its command line,
 * environment and working directory to the keeper, and gets the control connection of a sandbox
 * with the order that starts the command there. Everything else, and every doubt, goes to the
 * interpreter, which then says what is wrong.
 *
 * After: the command line has started a sandbox and has nothing left to do but wait; it executes
 * this program, which does it with a fraction of the memory: `nvsandbox @wait …`.
 *
 * The control connection is as control.py describes it: one JSON object a packet, "ev" first.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* Interpreter's name, and where the package and its libraries lie when it was built in place. */
#ifndef NV_PYTHON
#define NV_PYTHON "python3"
#endif
#ifndef NV_PATHS
#define NV_PATHS ""
#endif

#define MAX_REQUEST (160 * 1024) /* a datagram that fits into a socket's usual buffer */
#define MAX_ANSWER (256 * 1024)
#define MAX_MESSAGE (64 * 1024)
#define PATIENCE_MS 2000 /* a keeper that does not answer in this time is left alone */

static const int forwarded[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT,
                                SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

static const char *const code = "import sys\n"
                                "sys.path[0:0] = [p for p in sys.argv[1].split(':') if p]\n"
                                "from nvsandbox.cli.main import main\n"
                                "program = sys.argv[2]\n"
                                "del sys.argv[1:3]\n"
                                "main(program=program)\n";

/* The command line in Python. `-IS` where we know where its modules are: half the time to start. */
static void python(char **argv, int argc) {
  static char self[4096], dir[4096], interpreter[4200], site[4300], paths[9000];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  self[n > 0 ? n : 0] = 0;
  memcpy(dir, self, sizeof dir);
  char *slash = strrchr(dir, '/');
  if (slash)
    *slash = 0;
  snprintf(interpreter, sizeof interpreter, "%s/" NV_PYTHON, dir);
  if ((slash = strrchr(dir, '/')))
    *slash = 0;
  snprintf(site, sizeof site, "%s/lib/" NV_PYTHON "/site-packages", dir);
  snprintf(paths, sizeof paths, "%s/nvsandbox/__init__.py", site);
  if (*NV_PATHS)
    snprintf(paths, sizeof paths, "%s", NV_PATHS);
  else if (access(paths, R_OK) == 0)
    snprintf(paths, sizeof paths, "%s", site);
  else
    *paths = 0;
  char **args = calloc((size_t)argc + 8, sizeof *args), **a = args;
  if (!args)
    exit(1);
  *a++ = interpreter;
  *a++ = *paths ? "-IS" : "-P";
  *a++ = "-c";
  *a++ = (char *)code;
  *a++ = paths;
  *a++ = self;
  for (int i = 1; i < argc; i++)
    *a++ = argv[i];
  execv(interpreter, args);
  args[0] = NV_PYTHON;
  execvp(NV_PYTHON, args);
  fprintf(stderr, "nvsandbox: " NV_PYTHON ": %s\n", strerror(errno));
  exit(1);
}

/* A number that follows `"name": ` in a message of ours. */
static long number(const char *msg, const char *name, long otherwise) {
  const char *p = strstr(msg, name);
  return p ? strtol(p + strlen(name), 0, 10) : otherwise;
}

static int starts(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

/* A JSON string's text, on one line of stderr. */
static void say(const char *p) {
  char out[4096];
  size_t n = 0;
  for (; *p && *p != '"' && n < sizeof out - 8; p++) {
    unsigned long c = (unsigned char)*p;
    if (c == '\\') {
      c = (unsigned char)*++p;
      if (c == 'u') {
        char hex[5] = {0};
        for (int i = 0; i < 4 && p[1]; i++)
          hex[i] = *++p;
        c = strtoul(hex, 0, 16);
      } else if (c == 'n' || c == 't' || c == 'r') {
        c = ' ';
      } else if (!c) {
        break;
      }
      if (c >= 0x800) {
        out[n++] = (char)(0xe0 | c >> 12);
        out[n++] = (char)(0x80 | (c >> 6 & 63));
        out[n++] = (char)(0x80 | (c & 63));
        continue;
      }
      if (c >= 0x80) {
        out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 63));
        continue;
      }
    }
    out[n++] = c < ' ' ? ' ' : (char)c;
  }
  out[n] = 0;
  dprintf(2, "nvsandbox: %s\n", out);
}

static sigset_t block(void) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
    sigaddset(&set, forwarded[i]);
  sigprocmask(SIG_BLOCK, &set, 0);
  return set;
}

__attribute__((format(printf, 2, 0))) static void order(int ctl, const char *format, long a, long b,
                                                        long c) {
  char text[160];
  int n = snprintf(text, sizeof text, format, a, b, c);
  send(ctl, text, (size_t)n, MSG_NOSIGNAL);
}

/* What the sandbox says of process `id`: its exit code in the way of a shell, -1: nothing yet. */
static int heard(int ctl, long id) {
  static char msg[MAX_MESSAGE];
  ssize_t n = recv(ctl, msg, sizeof msg - 1, 0);
  if (n < 0 && (errno == EINTR || errno == EAGAIN))
    return -1;
  if (n <= 0) {
    dprintf(2, "nvsandbox: the sandbox died unexpectedly\n");
    return 1;
  }
  msg[n] = 0;
  const char *text = strstr(msg, "\"msg\": \"");
  if (starts(msg, "{\"ev\": \"dead\"")) {
    say(text ? text + 8 : "the sandbox died unexpectedly");
    return 1;
  }
  if (number(msg, "\"id\": ", 0) != id)
    return -1;
  if (starts(msg, "{\"ev\": \"failed\"")) {
    long err = number(msg, "\"errno\": ", 0);
    say(text ? text + 8 : "the command can't be run");
    return err == ENOENT || err == ENOTDIR ? 127 : 126;
  }
  if (!starts(msg, "{\"ev\": \"exited\""))
    return -1;
  int status = (int)number(msg, "\"status\": ", 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void passed_on(int ctl, int signals, long id, int terminal) {
  struct signalfd_siginfo si;
  if (read(signals, &si, sizeof si) != sizeof si)
    return;
  struct winsize w = {24, 80, 0, 0};
  if (si.ssi_signo == SIGWINCH && terminal) {
    ioctl(0, TIOCGWINSZ, &w);
    order(ctl, "{\"op\": \"resize\", \"id\": %ld, \"rows\": %ld, \"cols\": %ld}", id, w.ws_row,
          w.ws_col);
  } else {
    order(ctl, "{\"op\": \"signal\", \"id\": %ld, \"sig\": %ld}", id, (long)si.ssi_signo, 0);
  }
}

/* Passes signals on until process `id` has ended; its exit code. */
static int wait_for(int ctl, long id, int terminal) {
  sigset_t set = block();
  int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  struct pollfd p[2] = {{ctl, POLLIN, 0}, {signals, POLLIN, 0}};
  for (;;) {
    if (poll(p, 2, -1) < 0 && errno != EINTR)
      return 1;
    if (p[1].revents)
      passed_on(ctl, signals, id, terminal);
    if (p[0].revents) {
      int exit_code = heard(ctl, id);
      if (exit_code >= 0)
        return exit_code;
    }
  }
}

/* `@wait CTL ID tty|- PID…`: tty when the process has our terminal, which is ours again at the end.
 */
static int waiter(int argc, char **argv) {
  int ctl = atoi(argv[2]);
  struct termios saved, raw;
  int terminal = !strcmp(argv[4], "tty") && tcgetattr(0, &saved) == 0;
  if (terminal) {
    raw = saved;
    cfmakeraw(&raw);
    tcsetattr(0, TCSAFLUSH, &raw);
  }
  int exit_code = wait_for(ctl, atol(argv[3]), terminal);
  if (terminal)
    tcsetattr(0, TCSADRAIN, &saved);
  order(ctl, "{\"op\": \"stop\"}", 0, 0, 0);
  close(ctl);
  for (int i = 5; i < argc; i++) /* they are our children */
    while (waitpid(atoi(argv[i]), 0, 0) < 0 && errno == EINTR) {
    }
  return exit_code;
}

/* Where keepers have their sockets (cli/globals.py: default_root); "" for none. */
static void warm_directory(char *out, size_t size, const char *root) {
  const char *run = getenv("XDG_RUNTIME_DIR");
  int ours = geteuid() == 0;
  if (ours && run && *run) { /* root of a user's namespace is a user */
    FILE *f = fopen("/proc/self/uid_map", "re");
    unsigned long a = 1, b = 1, c = 0;
    ours = f && fscanf(f, "%lu %lu %lu", &a, &b, &c) == 3 && !a && !b && c == 0xffffffff;
    if (f)
      fclose(f);
  }
  if (root)
    snprintf(out, size, "%s/@warm", root);
  else if (ours || !run || !*run)
    snprintf(out, size, "/run/nvsandbox/@warm");
  else
    snprintf(out, size, "%s/nvsandbox/@warm", run);
}

/* A packet with descriptors. */
static int send_fds(int s, const char *data, size_t len, const int *fds, size_t n) {
  union {
    struct cmsghdr h;
    char space[CMSG_SPACE(3 * sizeof(int))];
  } c;
  memset(&c, 0, sizeof c);
  struct iovec iov = {(void *)data, len};
  struct msghdr m = {.msg_iov = &iov,
                     .msg_iovlen = 1,
                     .msg_control = &c,
                     .msg_controllen = CMSG_SPACE(n * sizeof(int))};
  c.h.cmsg_level = SOL_SOCKET;
  c.h.cmsg_type = SCM_RIGHTS;
  c.h.cmsg_len = CMSG_LEN(n * sizeof(int));
  memcpy(CMSG_DATA(&c.h), fds, n * sizeof(int));
  return sendmsg(s, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Sends what we were called with. What comes back is the control connection of a sandbox and the
 * order that starts the command, which goes there with our standard descriptors: the keeper, who
 * may be slow or stopped, never has those, and starts nothing itself. The connection, or -1. */
static int ask(const char *path, const char *request, size_t len, int cwd) {
  static char answer[MAX_ANSWER];
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof sa.sun_path)
    return -1;
  memcpy(sa.sun_path, path, strlen(path) + 1);
  int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ctl = -1;
  struct ucred peer;
  socklen_t plen = sizeof peer;
  if (s < 0)
    return -1;
  if (connect(s, (struct sockaddr *)&sa, sizeof sa) < 0 ||
      getsockopt(s, SOL_SOCKET, SO_PEERCRED, &peer, &plen) < 0 || peer.uid != geteuid() ||
      send_fds(s, request, len, &cwd, 1) < 0)
    goto out;
  struct pollfd p = {s, POLLIN, 0};
  if (poll(&p, 1, PATIENCE_MS) != 1)
    goto out;
  union {
    struct cmsghdr h;
    char space[CMSG_SPACE(sizeof(int))];
  } c;
  struct iovec iov = {answer, sizeof answer};
  struct msghdr m = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.space};
  ssize_t n = recvmsg(s, &m, MSG_CMSG_CLOEXEC);
  if (n <= 0 || m.msg_controllen < CMSG_LEN(sizeof(int)))
    goto out;
  memcpy(&ctl, CMSG_DATA(&c.h), sizeof ctl);
  if (m.msg_flags & MSG_TRUNC || send_fds(ctl, answer, (size_t)n, (int[3]){0, 1, 2}, 3) < 0) {
    close(ctl);
    ctl = -1;
  }
out:
  close(s);
  return ctl;
}

/* The position of `do` if that is all we are called for, else 0; `root`: the value of --root. */
static int simple_do(int argc, char **argv, const char **root) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i++) {
    if (starts(argv[i], "--root="))
      *root = argv[i] + 7;
    else if (!strcmp(argv[i], "--root") && i + 1 < argc)
      *root = argv[++i];
    else if (!starts(argv[i], "--platform="))
      return 0;
  }
  return i < argc && !strcmp(argv[i], "do") && !(isatty(0) && isatty(1)) ? i : 0;
}

static size_t put(char *to, size_t at, const char *word) {
  size_t n = strlen(word) + 1;
  if (at + n > MAX_REQUEST)
    return MAX_REQUEST + 1;
  memcpy(to + at, word, n);
  return at + n;
}

/* The command in a sandbox that is kept ready: its control connection, or -1. */
static int kept(int argc, char **argv, char **env, const char *root) {
  char dir[4096], path[4400], count[16];
  warm_directory(dir, sizeof dir, root);
  struct stat st;
  if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
    return -1;
  static char request[MAX_REQUEST];
  snprintf(count, sizeof count, "%d", argc - 1);
  size_t len = put(request, put(request, 0, "do"), count);
  for (int i = 1; i < argc && len <= MAX_REQUEST; i++)
    len = put(request, len, argv[i]);
  for (char **e = env; *e && len <= MAX_REQUEST; e++)
    len = put(request, len, *e);
  int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), ctl = -1;
  DIR *d = opendir(dir);
  struct dirent *e;
  while (len <= MAX_REQUEST && cwd >= 0 && d && ctl < 0 && (e = readdir(d)))
    if (e->d_name[0] != '.') {
      snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
      ctl = ask(path, request, len, cwd);
    }
  if (d)
    closedir(d);
  close(cwd);
  return ctl;
}

int main(int argc, char **argv, char **env) {
  if (argc >= 5 && !strcmp(argv[1], "@wait"))
    return waiter(argc, argv);
  const char *root = 0;
  if (simple_do(argc, argv, &root)) {
    sigset_t before;
    sigprocmask(SIG_BLOCK, 0, &before);
    block(); /* none is lost between the command's start and ours */
    int ctl = kept(argc, argv, env, root);
    if (ctl >= 0)
      return wait_for(ctl, 1, 0);
    sigprocmask(SIG_SETMASK, &before, 0);
  }
  python(argv, argc);
}
