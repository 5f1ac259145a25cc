"""A CUDA build of torch is known for one before it is fetched: by name, requirements or size."""

from __future__ import annotations

import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from scripts.torch_builds import MIB, SIMPLE_JSON, Interpreter, Offer, judge, list_builds

HERE = Interpreter.ask(sys.executable)
CUDA = 'Requires-Dist: nvidia-cublas==13.1; platform_system == "Linux"\n'
ELSEWHERE = 'Requires-Dist: nvidia-cublas==13.1; platform_machine == "elsewhere"\n'


def make_torch(folder: Path, version: str, requires: str = "") -> Path:
    wheel = folder / f"torch-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        text = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n{requires}"
        archive.writestr(f"torch-{version}.dist-info/METADATA", text)
    return wheel


@pytest.mark.skipif(sys.platform != "linux", reason="the wheel's marker names Linux")
def test_a_folders_builds_are_judged_by_name_and_requirements(tmp_path: Path) -> None:
    make_torch(tmp_path, "2.10.0+cpu")
    make_torch(tmp_path, "2.10.0+cu130")
    make_torch(tmp_path, "2.11.0", CUDA)
    make_torch(tmp_path, "2.12.0", ELSEWHERE)
    make_torch(tmp_path, "2.8.0")
    builds = list_builds(HERE, SpecifierSet(">=2.9,<2.15"), [str(tmp_path)])
    assert {str(build.version): build.refusal for build in builds} == {
        "2.10.0+cpu": "",
        "2.10.0+cu130": "built for cu130",
        "2.11.0": "a CUDA build: it requires nvidia-cublas",
        "2.12.0": "",
    }


def test_a_wheel_for_another_python_is_no_offer(tmp_path: Path) -> None:
    make_torch(tmp_path, "2.10.0").rename(tmp_path / "torch-2.10.0-cp27-cp27m-linux_x86_64.whl")
    assert not list_builds(HERE, SpecifierSet(), [str(tmp_path)])


def test_what_is_as_large_as_a_cuda_build_is_refused_whatever_its_name() -> None:
    offer = Offer("torch-2.11.0-py3-none-any.whl", "nowhere", 506 * MIB)
    assert judge(offer, Version("2.11.0+cpu"), HERE) == "506 MiB, as large as a CUDA build"


class _Index(BaseHTTPRequestHandler):
    """An index of three versions; not beside every wheel lies its metadata."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        wheels = ("2.10.0-py3", "2.11.0-py3", "2.12.0-py3", "2.12.0-py2")
        files = [
            {"filename": f"torch-{wheel}-none-any.whl", "url": f"/{wheel}", "size": 99}
            for wheel in wheels
        ]
        pages = {
            "/simple/torch/": (SIMPLE_JSON, json.dumps({"files": files})),
            "/2.10.0-py3.metadata": ("text/plain", "Name: torch\n"),
            "/2.12.0-py2.metadata": ("text/plain", f"Name: torch\n{CUDA}"),
        }
        content_type, text = pages.get(self.path, ("text/plain", ""))
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    _Index.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_index_is_asked_for_metadata_and_never_for_a_wheel(index: str) -> None:
    builds = list_builds(HERE, SpecifierSet(">=2.9"), [index])
    assert {str(build.version): build.refusal for build in builds} == {
        "2.10.0": "",
        "2.11.0": "the index does not tell its requirements",
        "2.12.0": "a CUDA build: it requires nvidia-cublas",  # so says its like for another Python
    }
    asked = {path for path in _Index.asked if not path.endswith(".metadata")}
    assert asked == {"/simple/torch/"}
