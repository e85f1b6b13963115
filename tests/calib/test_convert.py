"""Which format a file is read as."""

import pytest

from calib.convert import read_any
from rigpose.errors import ConfigError


def test_optitracks_cal_says_what_to_do(tmp_path):
    (tmp_path / "take.cal").write_bytes(bytes(100))
    with pytest.raises(ConfigError, match="Motive.*rigpose calibrate all"):
        read_any(tmp_path / "take.cal")


def test_a_format_by_name_goes_before_what_is_recognised(tmp_path):
    (tmp_path / "c.json").write_text('{"K": [[900,0,320],[0,900,240],[0,0,1]]}')
    with pytest.raises(ConfigError, match="Panoptic"):
        read_any(tmp_path / "c.json", "panoptic")
    with pytest.raises(ConfigError, match="--from: 'calibio' is not known"):
        read_any(tmp_path / "c.json", "calibio")
