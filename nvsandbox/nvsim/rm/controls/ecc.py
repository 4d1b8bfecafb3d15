"""Error correction (``ctrl2080gpu.h``, ``ctrl2080ecc.h``); cards without it say NOT_SUPPORTED."""

from __future__ import annotations

from ..control import Call, control
from ..status import Status

_DRAM_UNIT = 1


@control("NV2080_CTRL_CMD_GPU_QUERY_ECC_CONFIGURATION")
def configuration(call: Call) -> Status | None:
    """Current and default: 1 is on."""
    if not call.gpu.profile.ecc:
        return Status.NOT_SUPPORTED
    call.p.put(currentConfiguration=int(call.gpu.ecc_on), defaultConfiguration=1)
    return None


@control("NV2080_CTRL_CMD_GPU_QUERY_INFOROM_ECC_SUPPORT")
def inforom_support(call: Call) -> Status | None:
    """OK is yes."""
    return None if call.gpu.profile.ecc else Status.NOT_SUPPORTED


@control("NV2080_CTRL_CMD_GPU_QUERY_ECC_STATUS")
def status(call: Call) -> Status | None:
    """Unit by unit; all errors are counted at the memory's unit."""
    if not call.gpu.profile.ecc:
        return Status.NOT_SUPPORTED
    ecc = call.gpu.ecc
    for i in range(call.p.length("units")):
        unit = call.p.sub("units", i)
        unit.put(enabled=int(call.gpu.ecc_on), scrubComplete=1, supported=1)
        if i == _DRAM_UNIT:
            for name, count in (("dbe", ecc.dram_uncorrected), ("sbe", ecc.dram_corrected)):
                if name in unit:
                    unit.sub(name).put(count=count)
    return None


@control("NV2080_CTRL_CMD_ECC_GET_CLIENT_EXPOSED_COUNTERS")
def exposed(call: Call) -> Status | None:
    """Counters over the life of the board."""
    if not call.gpu.profile.ecc:
        return Status.NOT_SUPPORTED
    ecc = call.gpu.ecc
    call.p.put(
        sramSecDedUncorrectedUnique=ecc.sram_uncorrected,
        sramCorrectedUnique=ecc.sram_corrected,
        dramUncorrectedTotal=ecc.dram_uncorrected,
        dramCorrectedTotal=ecc.dram_corrected,
    )
    return None


@control("NV2080_CTRL_CMD_ECC_GET_VOLATILE_COUNTS")
def volatile(call: Call) -> Status | None:
    """Counters since the driver was loaded."""
    if not call.gpu.profile.ecc:
        return Status.NOT_SUPPORTED
    ecc = call.gpu.ecc
    call.p.put(
        sramCorUni=ecc.sram_corrected,
        sramUncSecDedUni=ecc.sram_uncorrected,
        dramCorTot=ecc.dram_corrected,
        dramUncTot=ecc.dram_uncorrected,
    )
    return None
