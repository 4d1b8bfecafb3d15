/* What every system call needs of a trap, as functions of CPython's own. Through cffi a call costs
 * 0.1 us, most of it for giving up the GIL and taking it back. Here the GIL is kept, but for the
 * time that the Sentry sleeps or worker threads have something to do. hot.py imports it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "native.h"

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

/* Of an event: kind, number, six arguments, id of the thread. */
#define EVENT_LEN 9
static PyObject *value(const struct nv_task *t, int i) {
  if (i == EVENT_LEN - 1)
    return PyLong_FromLong((long)t->id);
  int64_t v = t->ev[i];
  if (v < 0 && i >= NV_E_ARG0 && nv_unsigned(t, i - NV_E_ARG0))
    return PyLong_FromUnsignedLongLong((uint64_t)v);
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
  for (int i = 0; i < EVENT_LEN; i++) {
    PyObject *v = value(t, i);
    if (!v) {
      Py_DECREF(e);
      return NULL;
    }
    PyTuple_SET_ITEM(e, i, v);
  }
  return e;
}

static PyObject *wait_(PyObject *m, PyObject *deadline) {
  int64_t until = I64(deadline);
  return PyErr_Occurred() ? NULL : next_event(until);
}

static PyObject *work(PyObject *m, PyObject *more) {
  working += PyLong_AsLong(more);
  return none_or_error();
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
    if (addr != t->ev[NV_E_INADDR1])
      return NULL;
    i = 2;
    off = NV_IN_MAXSTR;
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
                                     {"read_out", FAST(trap_read_out), NULL},
                                     {"copy_in", FAST(trap_copy_in), NULL},
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
static PyMethodDef functions[] = {
    {"wait", wait_, METH_O, NULL}, {"work", work, METH_O, NULL}, {NULL, NULL, 0, NULL}};
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
