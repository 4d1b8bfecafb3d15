"""The N_TTY line discipline (Linux: drivers/tty/n_tty.c).

Characters come from the other side through ``receive``; what a reader may take lies in ``buf``. In canonical mode
``canon`` bytes of it are complete lines whose ends are listed in ``ends``; what follows is still being edited. An end-of-file
character is stored as a zero byte whose end is marked, and is never handed out. ``column`` follows the cursor, for tabs.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..abi import tty as a
from ..kernel import signal as sg
from ..kernel.wait import POLLIN, POLLRDNORM

if TYPE_CHECKING:
    from .tty import Tty

BUF_SIZE: Final = 4096
NL: Final = 10
CR: Final = 13
TAB: Final = 9
BS: Final = 8
END_DATA: Final = 0
END_EOF: Final = 1  # the byte at the end is not part of the line


def is_cntrl(c: int) -> bool:
    return c < 32 or c == 127


def is_alnum(c: int) -> bool:
    return chr(c).isalnum() if c < 128 else c >= 0xC0 and c not in (0xD7, 0xF7)


@final
class LineDiscipline:
    """Input editing and output processing of one terminal."""

    __slots__ = (
        "buf", "canon", "canon_column", "column", "ends", "erasing", "inq", "lnext", "tty",
    )  # fmt: skip

    def __init__(self, tty: Tty) -> None:
        self.tty = tty
        self.inq = bytearray()  # arrived, not yet looked at (no room)
        self.buf = bytearray()
        self.canon = 0
        self.ends: deque[tuple[int, int]] = deque()  # (absolute position after the end byte, END_*)
        self.column = self.canon_column = 0
        self.lnext = self.erasing = False

    def reset(self) -> None:
        """Nothing has been typed; what has arrived and was not looked at stays."""
        self.buf.clear()
        self.ends.clear()
        self.canon = 0
        self.lnext = self.erasing = False

    # Output
    def process_output(self, data: bytes) -> bytes:
        """``data`` as OPOST turns it out; moves the cursor."""
        o = self.tty.termios.oflag
        if not o & a.OPOST:
            return data
        if o & (a.OLCUC | a.OCRNL | a.ONOCR | a.ONLRET) == 0 and o & a.XTABS != a.XTABS:
            self._advance(data)
            return data.replace(b"\n", b"\r\n") if o & a.ONLCR else data
        out = bytearray()
        for c in data:
            self._output_char(c, out)
        return bytes(out)

    def _advance(self, data: bytes) -> None:
        """The cursor after plain output."""
        o = self.tty.termios.oflag
        cut = data.rfind(b"\r") + 1
        if o & a.ONLCR:
            cut = max(cut, data.rfind(b"\n") + 1)
        if cut:
            self.column = self.canon_column = 0
            data = data[cut:]
        for c in data[-4096:]:
            if c == TAB:
                self.column += 8 - (self.column & 7)
            elif c == BS:
                self.column = max(self.column - 1, 0)
            elif c == NL:
                self.canon_column = self.column
            elif not is_cntrl(c) and not self._continuation(c):
                self.column += 1

    def _output_char(self, c: int, out: bytearray) -> None:
        """Linux: do_output_char."""
        o = self.tty.termios.oflag
        if c == NL:
            if o & a.ONLRET:
                self.column = 0
            if o & a.ONLCR:
                self.canon_column = self.column = 0
                out += b"\r\n"
                return
            self.canon_column = self.column
        elif c == CR:
            if o & a.ONOCR and self.column == 0:
                return
            if o & a.OCRNL:
                c = NL
                if o & a.ONLRET:
                    self.canon_column = self.column = 0
            else:
                self.canon_column = self.column = 0
        elif c == TAB:
            n = 8 - (self.column & 7)
            self.column += n
            if o & a.XTABS == a.XTABS:
                out += b" " * n
                return
        elif c == BS:
            self.column = max(self.column - 1, 0)
        elif not is_cntrl(c):
            if o & a.OLCUC:
                c = ord(chr(c).upper()) if c < 128 else c
            if not self._continuation(c):
                self.column += 1
        out.append(c)

    # Echo
    def _echo_raw(self, c: int) -> None:
        """As written by the application."""
        out = bytearray()
        if self.tty.termios.oflag & a.OPOST:
            self._output_char(c, out)
        else:
            out.append(c)
        self.tty.output(bytes(out))

    def _echo(self, c: int) -> None:
        """A control character is shown as ^X with ECHOCTL."""
        if self.tty.termios.lflag & a.ECHOCTL and is_cntrl(c) and c != TAB:
            self.tty.output(bytes([94, c ^ 0x40]))
            self.column += 2
        else:
            self._echo_raw(c)

    def _finish_erasing(self) -> None:
        if self.erasing:
            self._echo_raw(47)
            self.erasing = False

    def _continuation(self, c: int) -> bool:
        return bool(self.tty.termios.iflag & a.IUTF8) and c & 0xC0 == 0x80

    # Input
    def receive(self, data: bytes) -> None:
        """Bytes from the other side."""
        self.inq += data
        self.pump()

    def room(self) -> int:
        """How many more characters fit."""
        left = BUF_SIZE - 1 - len(self.buf)
        if left <= 0 and self._canonical() and self.canon == 0:
            return 1  # no line is complete: characters are dropped until its end comes
        return left

    def pump(self) -> None:
        """Looks at what has arrived as far as there is room."""
        had = self.available(1)
        if not self.inq:
            return
        t = self.tty.termios
        plain = not t.lflag & (
            a.ICANON | a.ECHO | a.ISIG | a.EXTPROC | a.ECHONL
        ) and not t.iflag & (a.ISTRIP | a.IUCLC | a.IXON | a.IGNCR | a.ICRNL | a.INLCR | a.PARMRK)
        if plain and not self.lnext:
            n = max(BUF_SIZE - 1 - len(self.buf), 0)
            self.buf += self.inq[:n]
            del self.inq[:n]
        else:
            n = 0
            for c in bytes(self.inq):
                if self.room() <= 0:
                    break
                n += 1
                self._char(c)
            del self.inq[:n]
        if self.available(1) and (not had or not self._canonical()):
            self.tty.queue.wake(POLLIN | POLLRDNORM)

    def _canonical(self) -> bool:
        return bool(self.tty.termios.lflag & a.ICANON)

    def _put(self, c: int) -> None:
        if len(self.buf) >= BUF_SIZE - 1 and self._canonical():
            del self.buf[BUF_SIZE - 2 :]  # the newest one is overwritten
        self.buf.append(c)

    def _char(self, c: int) -> None:
        """One character (Linux: n_tty_receive_char and its special cases). A state machine."""
        t = self.tty.termios
        i, lf, cc = t.iflag, t.lflag, t.cc
        if i & a.ISTRIP:
            c &= 0x7F
        if i & a.IUCLC and lf & a.IEXTEN and 65 <= c <= 90:
            c += 32
        if lf & a.EXTPROC:
            self._put(c)
            return
        if self.lnext:
            self.lnext = False
            self._plain(c)
            return
        if i & a.IXON:
            if c == cc[a.VSTART] and c:
                self.tty.start()
                return
            if c == cc[a.VSTOP] and c:
                self.tty.stop()
                return
        if lf & a.ISIG and c and self._signal(c):
            return
        if self.tty.stopped and i & a.IXON and i & a.IXANY:
            self.tty.start()
        mapped = False
        if c == CR:
            if i & a.IGNCR:
                return
            if i & a.ICRNL:
                c = NL
                mapped = True
        elif c == NL and i & a.INLCR:
            c = CR
        if lf & a.ICANON and self._edit(c):
            return
        self._plain(c, mapped)

    def _signal(self, c: int) -> bool:
        """ISIG: interrupt, quit, suspend."""
        t = self.tty.termios
        sig = 0
        if c == t.cc[a.VINTR]:
            sig = sg.SIGINT
        elif c == t.cc[a.VQUIT]:
            sig = sg.SIGQUIT
        elif c == t.cc[a.VSUSP]:
            sig = sg.SIGTSTP
        if not sig:
            return False
        if not t.lflag & a.NOFLSH:
            self.reset()
            self.tty.flush_out()
        if t.iflag & a.IXON:
            self.tty.start()
        if t.lflag & a.ECHO:
            self._echo(c)
        self.tty.signal_foreground(sig)
        return True

    def _edit(self, c: int) -> bool:
        """Canonical mode's special characters; False for any other."""
        t = self.tty.termios
        lf, cc = t.lflag, t.cc
        ext = bool(lf & a.IEXTEN)
        if c and (c == cc[a.VERASE] or c == cc[a.VKILL] or (c == cc[a.VWERASE] and ext)):
            self._erase(c)
        elif c and c == cc[a.VLNEXT] and ext:
            self.lnext = True
            if lf & a.ECHO:
                self._finish_erasing()
                if lf & a.ECHOCTL:
                    self.tty.output(b"^\b")
        elif c and c == cc[a.VREPRINT] and lf & a.ECHO and ext:
            self._finish_erasing()
            self._echo(c)
            self._echo_raw(NL)
            for x in bytes(self.buf[self.canon :]):
                self._echo(x)
        elif c == NL:
            if lf & (a.ECHO | a.ECHONL):
                self._echo_raw(NL)
            self._line_end(c, END_DATA)
        elif c and c == cc[a.VEOF]:
            self._line_end(0, END_EOF)
        elif c and (c == cc[a.VEOL] or (c == cc[a.VEOL2] and ext)):
            if lf & a.ECHO:
                self._echo(c)
            if t.iflag & a.PARMRK and c == 0xFF:
                self._put(c)
            self._line_end(c, END_DATA)
        else:
            return False
        return True

    def _line_end(self, c: int, kind: int) -> None:
        self._put(c)
        self.canon = len(self.buf)
        self.ends.append((self.canon, kind))

    def _plain(self, c: int, newline: bool = False) -> None:
        """Anything else. Outside canonical mode only a newline made of a return is echoed as such, others as ^J."""
        t = self.tty.termios
        if t.lflag & a.ECHO:
            self._finish_erasing()
            if newline:
                self._echo_raw(c)
            else:
                if self.canon == len(self.buf):
                    self.canon_column = self.column
                self._echo(c)
        if t.iflag & a.PARMRK and c == 0xFF:
            self._put(c)
        self._put(c)

    # Erasing (Linux: eraser)
    def _erase(self, c: int) -> None:
        t = self.tty.termios
        lf, cc = t.lflag, t.cc
        if len(self.buf) == self.canon:
            return
        kill = c == cc[a.VKILL] and c != cc[a.VERASE]
        word = not kill and c != cc[a.VERASE]
        if kill:
            if not lf & a.ECHO:
                del self.buf[self.canon :]
                return
            if not (lf & a.ECHOK and lf & a.ECHOKE and lf & a.ECHOE):
                del self.buf[self.canon :]
                self._finish_erasing()
                self._echo(cc[a.VKILL])
                if lf & a.ECHOK:
                    self._echo_raw(NL)
                return
        seen = False
        while len(self.buf) > self.canon:
            head = len(self.buf) - 1
            while self._continuation(self.buf[head]) and head > self.canon:
                head -= 1
            ch = self.buf[head]
            if self._continuation(ch):
                break
            if word:
                if is_alnum(ch) or ch == 95:
                    seen = True
                elif seen:
                    break
            gone = bytes(self.buf[head:])
            del self.buf[head:]
            if lf & a.ECHO:
                self._echo_erase(gone, not kill and not word)
            if not kill and not word:
                break
        if len(self.buf) == self.canon and lf & a.ECHO:
            self._finish_erasing()

    def _echo_erase(self, gone: bytes, single: bool) -> None:
        """Takes one character off the screen."""
        lf = self.tty.termios.lflag
        c = gone[0]
        if lf & a.ECHOPRT:
            if not self.erasing:
                self._echo_raw(92)
                self.erasing = True
            self._echo(c)
            for x in gone[1:]:
                self._echo_raw(x)
        elif single and not lf & a.ECHOE:
            self._echo(self.tty.termios.cc[a.VERASE])
        elif c == TAB:
            self._erase_tab()
        else:
            n = int(is_cntrl(c) and bool(lf & a.ECHOCTL)) + int(
                not is_cntrl(c) or bool(lf & a.ECHOCTL)
            )
            for _ in range(n):
                self._echo_raw(BS)
                self._echo_raw(32)
                self._echo_raw(BS)

    def _erase_tab(self) -> None:
        """Back to where the tab began: what stands between it and the tab before, or the line's beginning."""
        num = 0
        after_tab = False
        for c in reversed(self.buf[self.canon :]):
            if c == TAB:
                after_tab = True
                break
            if is_cntrl(c):
                num += 2 if self.tty.termios.lflag & a.ECHOCTL else 0
            elif not self._continuation(c):
                num += 1
        if not after_tab:
            num += self.canon_column
        n = 8 - (num & 7)
        self.tty.output(b"\b" * n)
        self.column = max(self.column - n, 0)

    # Reading
    def available(self, least: int) -> bool:
        """Whether a reader would get something (``least`` characters, when not canonical)."""
        if self._canonical() and not self.tty.termios.lflag & a.EXTPROC:
            return self.canon > 0
        return len(self.buf) >= max(least, 1)

    def take(self, size: int) -> bytes:
        """A line (or part of one), or raw characters."""
        if self._canonical() and not self.tty.termios.lflag & a.EXTPROC:
            data = self._take_line(size)
        else:
            data = bytes(self.buf[:size])
            self._consume(len(data))
        self.pump()
        return data

    def _take_line(self, size: int) -> bytes:
        end, kind = self.ends[0]
        if end > size + (1 if kind == END_EOF else 0):
            data = bytes(self.buf[:size])
            self._consume(size)
            return data
        data = bytes(self.buf[: end - (1 if kind == END_EOF else 0)])
        self._consume(end)
        return data

    def _consume(self, n: int) -> None:
        del self.buf[:n]
        self.canon = max(self.canon - n, 0)
        self.ends = deque((e - n, k) for e, k in self.ends if e > n)

    def flush_input(self) -> None:
        self.reset()
        self.tty.control(a.TIOCPKT_FLUSHREAD)

    def mode_changed(self, was_canonical: bool) -> None:
        """ICANON was switched: what was typed becomes a line, or lines become characters."""
        now = self._canonical()
        if now == was_canonical:
            return
        self.ends.clear()
        self.canon = 0
        if now and self.buf:
            self.canon = len(self.buf)
            self.ends.append((self.canon, END_DATA))
        self.lnext = self.erasing = False
        self.pump()
        if self.available(1):
            self.tty.queue.wake(POLLIN | POLLRDNORM)
