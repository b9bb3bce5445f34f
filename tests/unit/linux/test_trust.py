"""Root obeys no file that others may write or replace."""

import os
from pathlib import Path

import pytest

from ghostd import program
from ghostd.config import read_toml
from ghostd.errors import ConfigError, DeniedError
from ghostd.linux.trust import who_else_writes
from tests.support import needs_root

NOBODY = 65534

pytestmark = needs_root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "program.py"
    found.write_text("def work():\n    pass\n")
    found.chmod(0o644)
    tmp_path.chmod(0o755)
    return found


def test_a_file_of_ones_own_is_obeyed(file: Path) -> None:
    assert who_else_writes(str(file)) is None
    file.chmod(0o664)
    assert who_else_writes(str(file)) is None, "root's own group is root"
    os.chown(file, NOBODY, 0)
    assert who_else_writes(str(file)) is None, "whoever deploys may own what root runs"


def test_a_file_that_others_may_write_is_told_with_its_mode_and_what_to_do(file: Path) -> None:
    for mode, group in ((0o646, 0), (0o666, 0), (0o664, NOBODY)):
        os.chown(file, 0, group)
        file.chmod(mode)
        said = who_else_writes(str(file))
        assert said is not None
        assert f"{mode:04o}" in said and said.endswith(f"chmod go-w {file}")


def test_a_file_that_others_may_replace_is_told_with_its_folder(file: Path) -> None:
    file.parent.chmod(0o777)
    said = who_else_writes(str(file))
    assert said is not None
    assert said.endswith(f"chmod go-w {file.parent}")
    file.parent.chmod(0o1777)
    assert who_else_writes(str(file)) is None, "as in /tmp, nobody else may replace it"


def test_a_link_is_judged_by_where_it_leads(file: Path, tmp_path: Path) -> None:
    place = tmp_path / "releases"
    place.mkdir(mode=0o700)
    link = place / "current.py"
    link.symlink_to(file)
    file.parent.chmod(0o777)
    said = who_else_writes(str(link))
    assert said is not None and str(file.parent) in said


def test_root_runs_no_program_that_others_may_write(file: Path) -> None:
    assert callable(program.load(program.parse(f"{file}:work")))
    file.chmod(0o666)
    with pytest.raises(DeniedError, match=r"program\.py: others may write it \(mode 0666\)"):
        program.load(program.parse(f"{file}:work"))


def test_root_runs_no_module_that_others_may_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    file.rename(file.parent / "mill_of_others.py").chmod(0o666)
    with pytest.raises(DeniedError, match="mill_of_others"):
        program.load(program.parse("mill_of_others:work"))


def test_root_obeys_no_configuration_in_a_folder_of_everybody(tmp_path: Path) -> None:
    config = tmp_path / "ghostd.toml"
    config.write_text("spirits = 1\n")
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="others may replace it"):
        read_toml(str(config))
