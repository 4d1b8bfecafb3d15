/* What every system call needs of a trap, as functions of CPython's own. Through cffi a call costs
 * 0.1 us, most of it for giving up the GIL and taking it back. Here the GIL is kept, but for the
 * time that the Sentry sleeps or worker threads have something to do. hot.py imports it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "listing.h"
#include "native.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A thread of a stub as the handler of its call sees it. */
struct trap {
  PyObject_HEAD;
  struct nv_task *t;
};

/* Arguments come from the Sentry itself: numbers that fit, as 64 bits whatever their sign. */
#define U64(o) ((uint64_t)PyLong_AsUnsignedLongLongMask(o))
#define I64(o) ((int64_t)PyLong_AsUnsignedLongLongMask(o))
#define U32(o) ((uint32_t)PyLong_AsUnsignedLongLongMask(o))

static long working; /* jobs of worker threads, which need the GIL */
static PyThreadState *released;

static void let_go(void) {
  if (!released)
    released = PyEval_SaveThread();
}

static void take_back(void) {
  PyThreadState *s = released;
  released = NULL;
  if (s)
    PyEval_RestoreThread(s);
}

/* NULL, and an exception, once the thread is gone. */
static struct nv_task *of(PyObject *self) {
  struct nv_task *t = ((struct trap *)self)->t;
  if (!t)
    PyErr_SetString(PyExc_ValueError, "the thread is gone");
  return t;
}

static int has(Py_ssize_t n, Py_ssize_t want) {
  if (n == want)
    return 1;
  PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", want, n);
  return 0;
}

static PyObject *none_or_error(void) {
  if (PyErr_Occurred())
    return NULL;
  Py_RETURN_NONE;
}

/* Of an event: kind, number, six arguments (those that the call has not are 0), id of the thread.
 */
#define EVENT_LEN 9
static PyObject *value(const struct nv_task *t, int i, int nargs) {
  if (i == EVENT_LEN - 1)
    return PyLong_FromLong((long)t->id);
  int64_t v = t->ev[i];
  if (i >= NV_E_ARG0) {
    if (i - NV_E_ARG0 >= nargs)
      return PyLong_FromLong(0);
    if (v < 0 && nv_unsigned(t, i - NV_E_ARG0))
      return PyLong_FromUnsignedLongLong((uint64_t)v);
  }
  return PyLong_FromLongLong(v);
}

static PyObject *next_event(int64_t deadline) {
  if (working)
    let_go();
  struct nv_task *t = nv_wait(deadline);
  take_back();
  if (!t)
    Py_RETURN_NONE;
  PyObject *e = PyTuple_New(EVENT_LEN);
  if (!e)
    return NULL;
  int nargs = nv_nargs(t);
  for (int i = 0; i < EVENT_LEN; i++) {
    PyObject *v = value(t, i, nargs);
    if (!v) {
      Py_DECREF(e);
      return NULL;
    }
    PyTuple_SET_ITEM(e, i, v);
  }
  return e;
}

/* Assigning to a slice of a bytearray copies twice. */
static PyObject *put(PyObject *m, PyObject *const *a, Py_ssize_t n) {
  if (!has(n, 3))
    return NULL;
  int64_t at = I64(a[1]);
  if (PyErr_Occurred())
    return NULL;
  if (!PyByteArray_Check(a[0]) || !PyBytes_Check(a[2]) || at < 0 ||
      PyBytes_GET_SIZE(a[2]) > PyByteArray_GET_SIZE(a[0]) - at) {
    PyErr_SetString(PyExc_ValueError, "outside the array");
    return NULL;
  }
  memcpy(PyByteArray_AS_STRING(a[0]) + at, PyBytes_AS_STRING(a[2]), (size_t)PyBytes_GET_SIZE(a[2]));
  Py_RETURN_NONE;
}

static PyObject *wait_(PyObject *m, PyObject *deadline) {
  int64_t until = I64(deadline);
  return PyErr_Occurred() ? NULL : next_event(until);
}

static PyObject *work(PyObject *m, PyObject *more) {
  working += PyLong_AsLong(more);
  return none_or_error();
}

static PyObject *hold(PyObject *m, PyObject *on) {
  nv_hold(on == Py_True);
  Py_RETURN_NONE;
}

static PyObject *trap_reply(PyObject *self, PyObject *rax) {
  struct nv_task *t = of(self);
  int64_t r = I64(rax);
  if (!t || PyErr_Occurred())
    return NULL;
  nv_reply(t, r);
  Py_RETURN_NONE;
}

static PyObject *trap_reply_wait(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  if (!t || !has(n, 2))
    return NULL;
  int64_t r = I64(a[0]), until = I64(a[1]);
  if (PyErr_Occurred())
    return NULL;
  nv_reply(t, r);
  return next_event(until);
}

static PyObject *trap_resume(PyObject *self, PyObject *none) {
  struct nv_task *t = of(self);
  if (!t)
    return NULL;
  nv_resume(t);
  Py_RETURN_NONE;
}

static PyObject *trap_rest(PyObject *self, PyObject *none) {
  struct nv_task *t = of(self);
  if (!t)
    return NULL;
  t->cmd->patience = NV_P_REST;
  Py_RETURN_NONE;
}

static PyObject *trap_get_ready(PyObject *self, PyObject *none) {
  struct nv_task *t = of(self);
  if (!t)
    return NULL;
  nv_get_ready(t);
  Py_RETURN_NONE;
}

static PyObject *trap_op(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  if (!t || !has(n, 9))
    return NULL;
  int full = nv_op(t, U32(a[0]), U32(a[1]), U32(a[2]), U64(a[3]), U64(a[4]), U64(a[5]), U64(a[6]),
                   U64(a[7]), U64(a[8]));
  return PyErr_Occurred() ? NULL : PyBool_FromLong(full);
}

static PyObject *trap_run(PyObject *self, PyObject *spins) {
  struct nv_task *t = of(self);
  uint32_t n = U32(spins);
  return !t || PyErr_Occurred() ? NULL : PyBool_FromLong(nv_run(t, n));
}

static PyObject *trap_done(PyObject *self, PyObject *spins) {
  struct nv_task *t = of(self);
  uint32_t n = U32(spins);
  return !t || PyErr_Occurred() ? NULL : PyBool_FromLong(nv_done(t, n));
}

static PyObject *trap_copy_out(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  char *data;
  Py_ssize_t len;
  if (!t || !has(n, 4) || PyBytes_AsStringAndSize(a[2], &data, &len))
    return NULL;
  uint64_t off = U64(a[1]);
  if (off > NV_WIN_LEN || len > (Py_ssize_t)NV_WIN_LEN) {
    PyErr_SetString(PyExc_ValueError, "outside the window");
    return NULL;
  }
  int full = nv_copyout(t, U64(a[0]), (uint32_t)off, data, (uint32_t)len, U32(a[3]));
  return PyErr_Occurred() ? NULL : PyBool_FromLong(full);
}

/* struct stat (asm/stat.h) from (address, offset, flags, dev, ino, nlink, mode, uid, gid, rdev,
 * size, blksize, blocks, atime, mtime, ctime), times in nanoseconds. */
static PyObject *trap_stat_out(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  struct stat st = {0};
  int64_t times[3];
  struct timespec *const at[3] = {&st.st_atim, &st.st_mtim, &st.st_ctim};
  if (!t || !has(n, 16))
    return NULL;
  for (int i = 0; i < 3; i++)
    times[i] = I64(a[13 + i]);
  st.st_dev = U64(a[3]);
  st.st_ino = U64(a[4]);
  st.st_nlink = U64(a[5]);
  st.st_mode = U32(a[6]);
  st.st_uid = U32(a[7]);
  st.st_gid = U32(a[8]);
  st.st_rdev = U64(a[9]);
  st.st_size = I64(a[10]);
  st.st_blksize = I64(a[11]);
  st.st_blocks = I64(a[12]);
  for (int i = 0; i < 3; i++) {
    at[i]->tv_sec = times[i] / 1000000000;
    at[i]->tv_nsec = times[i] % 1000000000;
    if (at[i]->tv_nsec < 0) { /* before 1970 */
      at[i]->tv_sec--;
      at[i]->tv_nsec += 1000000000;
    }
  }
  uint64_t addr = U64(a[0]), off = U64(a[1]);
  uint32_t flags = U32(a[2]);
  if (PyErr_Occurred())
    return NULL;
  if (off > NV_WIN_LEN - sizeof st) {
    PyErr_SetString(PyExc_ValueError, "outside the window");
    return NULL;
  }
  return PyBool_FromLong(
      nv_copyout(t, addr, (uint32_t)off, (const char *)&st, (uint32_t)sizeof st, flags));
}

static PyObject *trap_read_out(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  if (!t || !has(n, 4))
    return NULL;
  int64_t r = nv_read_out(t, (int)I64(a[0]), U64(a[1]), U32(a[2]), I64(a[3]));
  return PyErr_Occurred() ? NULL : PyLong_FromLongLong(r);
}

/* Where the input that came with the trap for `addr` lies, and how much; NULL: none did. */
static const char *inlined(const struct nv_task *t, int64_t addr, int64_t *len) {
  uint32_t off = 0;
  int i = 0;
  if (addr == NV_IN_GATHERED) /* an iovec array's: no address */
    return NULL;
  if (addr != t->ev[NV_E_INADDR0] || !t->ev[NV_E_INLEN0]) {
    if (addr == t->ev[NV_E_INADDR1]) {
      i = 2;
      off = NV_IN_MAXSTR;
    } else if (addr == t->ev[NV_E_INADDR2]) {
      i = 4;
      off = NV_IN_MSG_IOV;
    } else {
      return NULL;
    }
  }
  *len = t->ev[NV_E_INLEN0 + i];
  if (*len <= 0 || (uint64_t)*len > NV_WIN_LEN - off)
    return NULL;
  return (const char *)t->slot + NV_WIN_OFF + off;
}

static PyObject *trap_copy_in(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  if (!t || !has(n, 2))
    return NULL;
  int64_t addr = I64(a[0]), size = I64(a[1]), len;
  if (PyErr_Occurred())
    return NULL;
  const char *at = inlined(t, addr, &len);
  if (!at || size < 0 || size > len)
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize(at, size);
}

/* What came with the trap goes into a bytearray without becoming an object first. */
static PyObject *trap_put(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  if (!t || !has(n, 4))
    return NULL;
  int64_t off = I64(a[1]), addr = I64(a[2]), size = I64(a[3]), len;
  if (PyErr_Occurred())
    return NULL;
  const char *at = inlined(t, addr, &len);
  if (!at || size < 0 || size > len || !PyByteArray_Check(a[0]) || off < 0 ||
      size > PyByteArray_GET_SIZE(a[0]) - off)
    Py_RETURN_FALSE;
  memcpy(PyByteArray_AS_STRING(a[0]) + off, at, (size_t)size);
  Py_RETURN_TRUE;
}

/* The same into a host file. */
static PyObject *trap_pwrite(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  struct nv_task *t = of(self);
  if (!t || !has(n, 4))
    return NULL;
  int fd = (int)I64(a[0]);
  int64_t off = I64(a[1]), addr = I64(a[2]), size = I64(a[3]), len;
  if (PyErr_Occurred())
    return NULL;
  const char *at = inlined(t, addr, &len);
  if (!at || size < 0 || size > len)
    Py_RETURN_FALSE;
  return PyBool_FromLong(pwrite(fd, at, (size_t)size, off) == size);
}

static PyObject *trap_gathered(PyObject *self, PyObject *size) {
  struct nv_task *t = of(self);
  int64_t n = I64(size);
  if (!t || PyErr_Occurred())
    return NULL;
  if (t->ev[NV_E_INADDR1] != NV_IN_GATHERED || t->ev[NV_E_INLEN1] != n || n < 0 ||
      (uint64_t)n > NV_WIN_LEN - NV_IN_MAXSTR)
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize((const char *)t->slot + NV_WIN_OFF + NV_IN_MAXSTR, n);
}

static PyObject *trap_copy_in_str(PyObject *self, PyObject *addr) {
  char s[NV_IN_MAXSTR]; /* the stub can change its own at any time */
  struct nv_task *t = of(self);
  int64_t a = I64(addr), len;
  if (!t || PyErr_Occurred())
    return NULL;
  const char *at = inlined(t, a, &len);
  if (!at)
    Py_RETURN_NONE;
  if (len > (int64_t)sizeof s)
    len = sizeof s;
  memcpy(s, at, (size_t)len);
  const char *end = memchr(s, 0, (size_t)len);
  if (!end)
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize(s, end - s);
}

static PyObject *trap_queued(PyObject *self, void *none) {
  struct nv_task *t = of(self);
  return t ? PyLong_FromLong((long)t->nops) : NULL;
}

static PyObject *trap_close(PyObject *self, PyObject *none) {
  ((struct trap *)self)->t = NULL;
  Py_RETURN_NONE;
}

static int trap_init(PyObject *self, PyObject *args, PyObject *kwargs) {
  unsigned long long at;
  if (!PyArg_ParseTuple(args, "K", &at))
    return -1;
  ((struct trap *)self)->t = (struct nv_task *)(uintptr_t)at;
  return 0;
}

static void trap_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

#define FAST(f) (PyCFunction)(void (*)(void))(f), METH_FASTCALL
static PyMethodDef trap_methods[] = {{"reply", trap_reply, METH_O, NULL},
                                     {"reply_wait", FAST(trap_reply_wait), NULL},
                                     {"resume", trap_resume, METH_NOARGS, NULL},
                                     {"rest", trap_rest, METH_NOARGS, NULL},
                                     {"get_ready", trap_get_ready, METH_NOARGS, NULL},
                                     {"op", FAST(trap_op), NULL},
                                     {"run", trap_run, METH_O, NULL},
                                     {"done", trap_done, METH_O, NULL},
                                     {"copy_out", FAST(trap_copy_out), NULL},
                                     {"stat_out", FAST(trap_stat_out), NULL},
                                     {"read_out", FAST(trap_read_out), NULL},
                                     {"copy_in", FAST(trap_copy_in), NULL},
                                     {"put", FAST(trap_put), NULL},
                                     {"pwrite", FAST(trap_pwrite), NULL},
                                     {"gathered", trap_gathered, METH_O, NULL},
                                     {"copy_in_str", trap_copy_in_str, METH_O, NULL},
                                     {"close", trap_close, METH_NOARGS, NULL},
                                     {NULL, NULL, 0, NULL}};
static PyGetSetDef trap_getset[] = {{"queued", trap_queued, NULL, NULL, NULL},
                                    {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot trap_slots[] = {{Py_tp_init, trap_init},
                                   {Py_tp_dealloc, trap_dealloc},
                                   {Py_tp_methods, trap_methods},
                                   {Py_tp_getset, trap_getset},
                                   {0, NULL}};
static PyType_Spec trap_spec = {.name = "nvsandbox.platform.native._hot.Trap",
                                .basicsize = sizeof(struct trap),
                                .flags = Py_TPFLAGS_DEFAULT,
                                .slots = trap_slots};
static PyMethodDef functions[] = {{"put", FAST(put), NULL},
                                  {"wait", wait_, METH_O, NULL},
                                  {"work", work, METH_O, NULL},
                                  {"hold", hold, METH_O, NULL},
                                  {"entries_ok", nv_py_entries_ok, METH_VARARGS, NULL},
                                  {"walk_part", nv_py_walk_part, METH_VARARGS, NULL},
                                  {"list_names", nv_py_list_names, METH_VARARGS, NULL},
                                  {"dirents", nv_py_dirents, METH_VARARGS, NULL},
                                  {NULL, NULL, 0, NULL}};
static PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_hot", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit__hot(void) {
  PyObject *m = PyModule_Create(&module), *trap = PyType_FromSpec(&trap_spec);
  if (!m || !trap || PyModule_AddType(m, (PyTypeObject *)trap)) {
    Py_XDECREF(trap);
    Py_XDECREF(m);
    return NULL;
  }
  Py_DECREF(trap);
  nv_before_sleep = let_go;
  return m;
}
