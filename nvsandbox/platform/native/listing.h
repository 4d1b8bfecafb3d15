/* Functions of the module in hot.c about listings; _hot.pyi describes them. Python.h comes first.
 */
#ifndef NV_LISTING_H
#define NV_LISTING_H

PyObject *nv_py_entries_ok(PyObject *m, PyObject *args);
PyObject *nv_py_walk_part(PyObject *m, PyObject *args);
PyObject *nv_py_list_names(PyObject *m, PyObject *args);
PyObject *nv_py_dirents(PyObject *m, PyObject *args);

#endif
