/* The gofer's listings (walk.h) as the Sentry takes them in: checked to the last byte when they
 * come, made into a table of names when a directory is looked at. hot.c has these functions in its
 * module. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <sys/stat.h>

#include "listing.h"
#include "walk.h"

enum { NAME_LONGEST = 255, TARGET_LONGEST = 4096 };

static int mode_ok(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return mode <= 0177777;
  }
  return 0;
}

/* One component that stays in its directory. */
static int name_ok(const char *name, size_t len) {
  return len && len <= NAME_LONGEST && !memchr(name, '/', len) && !memchr(name, 0, len) &&
         !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* Whether `e` is an entry whose text is the next of it; *at then is behind that. The numbers that
 * are not looked at here are when they become attributes. brief: NV_UNSEEN is allowed. */
static int entry_ok(const struct nv_entry *e, int brief, const Py_buffer *text, size_t *at) {
  size_t target = brief && e->target_len == NV_UNSEEN ? 0 : e->target_len;
  size_t len = e->name_len, all = len + target;
  if (e->text != *at || all > (size_t)text->len - *at || target > TARGET_LONGEST ||
      !mode_ok(e->mode) || e->dev > INT64_MAX || e->ino > INT64_MAX ||
      !name_ok((const char *)text->buf + *at, len))
    return 0;
  *at += all;
  return 1;
}

static int entries_ok(const Py_buffer *records, size_t from, size_t count, int brief,
                      const Py_buffer *text, size_t *at) {
  for (size_t i = from; i < from + count; i++) {
    struct nv_entry e; /* bytes need not be aligned */
    memcpy(&e, (const char *)records->buf + i * sizeof e, sizeof e);
    if (!entry_ok(&e, brief, text, at))
      return 0;
  }
  return 1;
}

PyObject *nv_py_entries_ok(PyObject *m, PyObject *args) {
  Py_buffer records, text;
  if (!PyArg_ParseTuple(args, "y*y*", &records, &text))
    return NULL;
  size_t at = 0;
  int ok = records.len % sizeof(struct nv_entry) == 0 &&
           entries_ok(&records, 0, (size_t)records.len / sizeof(struct nv_entry), 0, &text, &at) &&
           at == (size_t)text.len;
  PyBuffer_Release(&records);
  PyBuffer_Release(&text);
  return PyBool_FromLong(ok);
}

/* The directories, or an empty list when any byte is not as it must be. */
static PyObject *dirs_of(const Py_buffer *dirs, const Py_buffer *records, const Py_buffer *text,
                         int brief) {
  size_t total = (size_t)records->len / sizeof(struct nv_entry), n = 0, at = 0;
  PyObject *out = PyList_New(0);
  if (!out)
    return NULL;
  if (records->len % sizeof(struct nv_entry) || dirs->len % sizeof(struct nv_dir))
    return out;
  for (Py_ssize_t i = 0; i < dirs->len; i += (Py_ssize_t)sizeof(struct nv_dir)) {
    struct nv_dir d;
    memcpy(&d, (const char *)dirs->buf + i, sizeof d);
    if (!S_ISDIR(d.own.mode) || d.own.target_len || d.count > total - n ||
        !entry_ok(&d.own, 0, text, &at) || !entries_ok(records, n, d.count, brief, text, &at))
      goto wrong;
    PyObject *t = Py_BuildValue("(IINnIKKy#)", d.index, d.above, PyBool_FromLong(d.more),
                                (Py_ssize_t)(n * sizeof(struct nv_entry)), d.count,
                                (unsigned long long)d.own.dev, (unsigned long long)d.own.ino,
                                (const char *)text->buf + d.own.text, (Py_ssize_t)d.own.name_len);
    if (!t || PyList_Append(out, t)) {
      Py_XDECREF(t);
      Py_DECREF(out);
      return NULL;
    }
    Py_DECREF(t);
    n += d.count;
  }
  if (n == total && at == (size_t)text->len)
    return out;
wrong:
  PyList_SetSlice(out, 0, PY_SSIZE_T_MAX, NULL);
  return out;
}

PyObject *nv_py_walk_part(PyObject *m, PyObject *args) {
  Py_buffer dirs, records, text;
  int brief;
  if (!PyArg_ParseTuple(args, "y*y*y*p", &dirs, &records, &text, &brief))
    return NULL;
  PyObject *out = dirs_of(&dirs, &records, &text, brief);
  PyBuffer_Release(&dirs);
  PyBuffer_Release(&records);
  PyBuffer_Release(&text);
  return out;
}

/* Adds `count` entries from byte `at` of the records on to the tables. 0, or -1 with an exception.
 */
static int add_entries(const Py_buffer *records, const Py_buffer *text, size_t at, size_t count,
                       unsigned long long base, PyObject *names, PyObject *files, PyObject *dirs) {
  for (size_t i = 0; i < count; i++, at += sizeof(struct nv_entry)) {
    struct nv_entry e;
    memcpy(&e, (const char *)records->buf + at, sizeof e);
    if ((size_t)e.text + e.name_len > (size_t)text->len) {
      PyErr_SetString(PyExc_ValueError, "entries that were not checked");
      return -1;
    }
    PyObject *name =
        PyBytes_FromStringAndSize((const char *)text->buf + e.text, (Py_ssize_t)e.name_len);
    PyObject *number = name ? PyLong_FromUnsignedLongLong(base + at) : NULL;
    PyObject *kind = S_ISREG(e.mode) ? files : S_ISDIR(e.mode) ? dirs : NULL;
    int bad = !number || PyDict_SetItem(names, name, number) || (kind && PyList_Append(kind, name));
    Py_XDECREF(name);
    Py_XDECREF(number);
    if (bad)
      return -1;
  }
  return 0;
}

PyObject *nv_py_list_names(PyObject *m, PyObject *args) {
  Py_buffer records, text;
  Py_ssize_t at, count;
  unsigned long long base;
  PyObject *names, *files, *dirs;
  if (!PyArg_ParseTuple(args, "y*y*nnKO!O!O!", &records, &text, &at, &count, &base, &PyDict_Type,
                        &names, &PyList_Type, &files, &PyList_Type, &dirs))
    return NULL;
  int r = -1;
  if (at < 0 || count < 0 || at > records.len ||
      count > (records.len - at) / (Py_ssize_t)sizeof(struct nv_entry))
    PyErr_SetString(PyExc_ValueError, "entries");
  else
    r = add_entries(&records, &text, (size_t)at, (size_t)count, base, names, files, dirs);
  PyBuffer_Release(&records);
  PyBuffer_Release(&text);
  if (r)
    return NULL;
  Py_RETURN_NONE;
}

struct out {
  char *at;
  size_t used, room;
};

/* Adds a struct linux_dirent64. 0: it doesn't fit. */
static int dirent(struct out *o, uint64_t ino, int64_t next, unsigned mode, PyObject *name) {
  size_t len = (size_t)PyBytes_GET_SIZE(name), size = (19 + len + 1 + 7) & ~(size_t)7;
  if (size > o->room - o->used)
    return 0;
  char *d = o->at + o->used;
  uint16_t size16 = (uint16_t)size;
  memset(d + size - 8, 0, 8);
  memcpy(d, &ino, 8);
  memcpy(d + 8, &next, 8);
  memcpy(d + 16, &size16, 2);
  d[18] = (char)(mode >> 12 & 15);
  memcpy(d + 19, PyBytes_AS_STRING(name), len);
  o->used += size;
  return 1;
}

/* Inode number and mode of an entry: a number is one of the listing's `parts`, everything else has
 * them as attributes. 1; 0: it is neither, or of another device than `dev`, or its number is not
 * below `limit`; -1: an exception. */
static int identify(PyObject *e, PyObject *parts, uint64_t dev, uint64_t limit, uint64_t *ino,
                    uint32_t *mode) {
  static PyObject *ino_name, *mode_name;
  if (PyLong_Check(e)) {
    uint64_t i = PyLong_AsUnsignedLongLong(e);
    if (PyErr_Occurred())
      return -1;
    PyObject *part = PyList_GetItem(parts, (Py_ssize_t)(i >> 32));
    PyObject *records = part && PyTuple_Check(part) ? PyTuple_GetItem(part, 0) : NULL;
    if (!records || !PyBytes_Check(records) ||
        (i & UINT32_MAX) + sizeof(struct nv_entry) > (size_t)PyBytes_GET_SIZE(records)) {
      if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "parts");
      return -1;
    }
    struct nv_entry r;
    memcpy(&r, PyBytes_AS_STRING(records) + (i & UINT32_MAX), sizeof r);
    *ino = r.ino;
    *mode = r.mode;
    return r.dev == dev && r.ino < limit;
  }
  if (!ino_name && !(ino_name = PyUnicode_InternFromString("ino")))
    return -1;
  if (!mode_name && !(mode_name = PyUnicode_InternFromString("mode")))
    return -1;
  PyObject *n = PyObject_GetAttr(e, ino_name), *m = n ? PyObject_GetAttr(e, mode_name) : NULL;
  if (m) {
    *ino = PyLong_AsUnsignedLongLongMask(n);
    *mode = (uint32_t)PyLong_AsUnsignedLongMask(m);
  }
  Py_XDECREF(n);
  Py_XDECREF(m);
  if (m)
    return PyErr_Occurred() ? -1 : 1;
  if (!PyErr_ExceptionMatches(PyExc_AttributeError))
    return -1;
  PyErr_Clear();
  return 0;
}

PyObject *nv_py_dirents(PyObject *m, PyObject *args) {
  PyObject *names, *entries, *parts, *dots[2];
  Py_ssize_t pos;
  unsigned long long inos[2], dev, limit, room;
  if (!PyArg_ParseTuple(args, "O!nO!O!(KK)KKK", &PyList_Type, &names, &pos, &PyDict_Type, &entries,
                        &PyList_Type, &parts, &inos[0], &inos[1], &dev, &limit, &room))
    return NULL;
  PyObject *data = pos < 0 ? NULL : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
  if (!data) {
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_ValueError, "position");
    return NULL;
  }
  struct out o = {PyBytes_AS_STRING(data), 0, room};
  Py_ssize_t last = -1;
  dots[0] = PyBytes_FromString(".");
  dots[1] = PyBytes_FromString("..");
  int ok = dots[0] && dots[1] ? 1 : -1;
  for (; ok > 0 && pos < 2; last = pos)
    if (!(ok = dirent(&o, inos[pos], pos + 1, S_IFDIR, dots[pos])))
      break;
    else
      pos++;
  for (; ok > 0 && pos - 2 < PyList_GET_SIZE(names);) {
    PyObject *name = PyList_GET_ITEM(names, pos - 2);
    PyObject *e = PyBytes_Check(name) ? PyDict_GetItemWithError(entries, name) : NULL;
    uint64_t ino;
    uint32_t mode;
    if (!e) { /* removed since the names were taken */
      if (PyErr_Occurred())
        ok = -1;
      pos++;
      continue;
    }
    ok = identify(e, parts, dev, limit, &ino, &mode);
    if (ok > 0 && (ok = dirent(&o, ino, pos + 1, mode, name)))
      last = ++pos;
  }
  Py_XDECREF(dots[0]);
  Py_XDECREF(dots[1]);
  if (ok < 0 || _PyBytes_Resize(&data, (Py_ssize_t)o.used)) {
    Py_XDECREF(data);
    return NULL;
  }
  return Py_BuildValue("(NnN)", data, last, PyBool_FromLong(ok == 1));
}
