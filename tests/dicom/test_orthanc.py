"""What is written, stored in a real DICOM server (Debian: orthanc), found there and fetched back."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pydicom
import pytest
from invented_patient import AFFINE, KEY, instances
from pydicom.filebase import DicomBytesIO

from medgen.dicom.derived import write_derived
from medgen.dicom.segmentation import write_segmentation
from medgen.dicom.synthetic import synthetic_instances, write_synthetic

pytestmark = pytest.mark.skipif(
    shutil.which("Orthanc") is None, reason="Orthanc is not installed: apt-get install orthanc"
)
IMAGE = np.linspace(-1, 1, 96 * 80 * 3).reshape(96, 80, 3)


class Server:
    """An Orthanc on 127.0.0.1."""

    def __init__(self, folder):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.http, self.dicom = one.getsockname()[1], two.getsockname()[1]
        settings = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "TESTS",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "Plugins": [],
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        self.log = folder / "orthanc.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["Orthanc", str(folder / "settings.json")], stdout=log, stderr=log)

    def ask(self, path, body=None):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def wait(self):
        for _ in range(200):
            try:
                return self.ask("/system")
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError(f"Orthanc did not start:\n{self.log.read_text()[-2000:]}")

    def find(self, level, **query):
        return json.loads(self.ask("/tools/find", {"Level": level, "Query": query}))

    def fetch(self, uid):
        (instance,) = self.find("Instance", SOPInstanceUID=uid)
        return pydicom.dcmread(DicomBytesIO(self.ask(f"/instances/{instance}/file")))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("orthanc"))
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def check_there_and_back(server, paths):
    for path in paths:
        assert json.loads(server.ask("/instances", path.read_bytes()))["Status"] == "Success"
        sent = pydicom.dcmread(path)
        received = server.fetch(sent.SOPInstanceUID)
        assert received == sent
        np.testing.assert_array_equal(received.pixel_array, sent.pixel_array)
        yield received


def test_a_synthetic_series_is_stored_found_and_fetched(server, tmp_path):
    paths = write_synthetic(IMAGE, AFFINE, tmp_path, subject="orthanc-1")
    received = list(check_there_and_back(server, paths))
    assert all(dataset.SyntheticData == "YES" for dataset in received)
    assert len(server.find("Series", SeriesDescription="SYNTHETIC*", PatientID="SYN-orthanc-1")) == 1
    assert len(server.find("Instance", PatientID="SYN-orthanc-1")) == 3


def test_derived_images_and_masks_join_their_study(server, tmp_path):
    derived = write_derived(IMAGE, AFFINE, instances(3), tmp_path, key=KEY)
    mask = np.random.default_rng(0).integers(0, 2, (20, 24, 3))
    masks = write_segmentation(mask, AFFINE, instances(3), {1: "Lateral ventricles"}, tmp_path / "mask.dcm", key=KEY)
    received = list(check_there_and_back(server, [*derived, masks]))
    study = received[0].StudyInstanceUID
    assert len(server.find("Study", StudyInstanceUID=study)) == 1
    assert len(server.find("Series", StudyInstanceUID=study)) == 2


@pytest.mark.skipif(shutil.which("storescu") is None, reason="storescu is not installed: apt-get install dcmtk")
def test_over_the_dicom_network(server, tmp_path):
    paths = write_synthetic(IMAGE, AFFINE, tmp_path / "sent", subject="network-1")
    address = ["-aec", "TESTS", "127.0.0.1", str(server.dicom)]
    subprocess.run(["storescu", *address, *map(str, paths)], check=True, timeout=60)
    found = subprocess.run(
        [
            "findscu",
            "-S",
            "-k",
            "QueryRetrieveLevel=STUDY",
            "-k",
            "PatientID=SYN-network-1",
            "-k",
            "PatientName",
            *address,
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "SYNTHETIC^network-1" in found.stdout + found.stderr
    (tmp_path / "got").mkdir()
    study = pydicom.dcmread(paths[0]).StudyInstanceUID
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", "-od", str(tmp_path / "got")]
    subprocess.run(["getscu", "-S", *keys, *address], check=True, timeout=60)
    got = {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, (tmp_path / "got").iterdir())}
    assert len(got) == 3
    for path in paths:
        sent = pydicom.dcmread(path)
        np.testing.assert_array_equal(got[sent.SOPInstanceUID].pixel_array, sent.pixel_array)
        assert got[sent.SOPInstanceUID].SyntheticData == "YES"


def test_the_server_reads_the_marks_itself(server, tmp_path):
    (path,) = write_synthetic(IMAGE[..., :1], AFFINE, tmp_path, subject="tags-1")
    identifier = json.loads(server.ask("/instances", path.read_bytes()))["ID"]
    tags = json.loads(server.ask(f"/instances/{identifier}/tags?simplify"))
    assert tags["PatientName"] == "SYNTHETIC^tags-1"
    assert tags["BurnedInAnnotation"] == "YES"
    assert synthetic_instances(IMAGE[..., :1], AFFINE)[0].SOPInstanceUID != tags["SOPInstanceUID"]
