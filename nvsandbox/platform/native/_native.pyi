"""The cffi module that build.py makes of native.c; see native.h for what each function does."""

from typing import Any

ffi: Any
lib: Any
