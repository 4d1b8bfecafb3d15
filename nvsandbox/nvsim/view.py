"""Typed access to parameter structs: it belongs to the ABI database, and nvproxy uses it as well."""

from nvsandbox.nvproxy.abi.view import Layouts, Value, View

__all__ = ["Layouts", "Value", "View"]
