"""Makes a finished log of one that was not closed; the original stays as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

from capture.session.document import LOG_NAME, RECOVERED_NAME, read_info
from capture.session.log import LogState, LogWriter, read_log
from rigpose.errors import ConfigError, RigposeError


def recover(path: str | Path) -> Path:
    """Write every whole message of a session's log into a finished file beside it.

    Readers then take that one. A log that was closed needs nothing and is given back as it is.

    Args:
        path: The session's folder.

    Returns:
        The finished file.

    Raises:
        ConfigError: No session there.
        RigposeError: Its log is missing or no MCAP file, or the disk is full.
    """
    folder = Path(path).absolute()
    read_info(folder)
    source, target = folder / LOG_NAME, folder / RECOVERED_NAME
    if not source.exists():
        raise ConfigError(folder, f"has no {LOG_NAME}", "nothing was recorded")
    if target.exists():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    state = LogState()
    try:
        writer = LogWriter(temporary)
        try:
            for topic, message, _ in read_log(source, state):
                if topic in writer.counts:
                    writer.write(topic, message.data, message.log_time, message.publish_time)
            if state.closed:
                return source
            facts = {
                "poses": writer.counts["poses"],
                "frames": writer.counts["stamps"],
                "lost": None,
                "refused": None,
                "bytes": writer.n_bytes,
                "recovered_bytes": state.end,
                "stopped": "not closed; recovered",
            }
            writer.write_metadata("closing", {key: json.dumps(value) for key, value in facts.items()})
            writer.finish()
        finally:
            writer.close()
        os.replace(temporary, target)
    except OSError as error:
        raise RigposeError(target, f"cannot be written: {error.strerror}", "free some space") from None
    finally:
        temporary.unlink(missing_ok=True)
    return target
