"""The search finds what it is to find: a study that is marked everywhere, and marks in every spelling."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable

import blosc2
import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.privacy.identity import DATE_MARK, MARK, UID_MARK, make_identity
from tests.privacy.marks import IDENTITY, expand, find_marks

# Of table E.1-1 of PS3.15, what a CT study of a hospital holds.
E_1_1 = (
    *("AccessionNumber", "AcquisitionComments", "AcquisitionDate", "AcquisitionDateTime", "AdditionalPatientHistory"),
    *("AdmissionID", "AdmittingDiagnosesDescription", "Allergies", "BranchOfService", "ContentCreatorName"),
    *("ContrastBolusAgent", "CountryOfResidence", "CurrentPatientLocation", "DerivationDescription"),
    *("DetectorID", "DeviceSerialNumber", "DeviceUID", "EthnicGroup", "FrameOfReferenceUID", "GantryID"),
    *("ImageComments", "InstanceCreatorUID", "InstitutionAddress", "InstitutionName", "InstitutionalDepartmentName"),
    *("IssuerOfPatientID", "MedicalAlerts", "MedicalRecordLocator", "MilitaryRank", "NameOfPhysiciansReadingStudy"),
    *("Occupation", "OperatorsName", "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames"),
    *("PatientAddress", "PatientBirthDate", "PatientBirthName", "PatientComments", "PatientID", "PatientName"),
    *("PatientMotherBirthName", "PatientReligiousPreference", "PatientSex", "PatientTelephoneNumbers"),
    *("PerformedProcedureStepDescription", "PerformedStationName", "PerformingPhysicianName", "PersonName"),
    *("PhysiciansOfRecord", "ProtocolName", "ReferencedSOPInstanceUID", "ReferringPhysicianAddress"),
    *("ReferringPhysicianName", "ReferringPhysicianTelephoneNumbers", "RegionOfResidence"),
    *("RequestAttributesSequence", "RequestedProcedureDescription", "RequestingPhysician", "RequestingService"),
    *("ResponsiblePerson", "ScheduledPerformingPhysicianName", "SeriesDate", "SeriesDescription", "ServiceEpisodeID"),
    *("SmokingStatus", "SoftwareVersions", "SpecialNeeds", "StationName", "StudyComments", "StudyDate"),
    *("StudyDescription", "StudyID", "TextComments", "UID", "VerifyingObserverName"),
)


@pytest.fixture(scope="module")
def identity() -> Dataset:
    return make_identity("4711")


class TestIdentity:
    @pytest.mark.parametrize("keyword", E_1_1)
    def test_is_in_every_attribute_of_the_profile(self, identity: Dataset, keyword: str) -> None:
        value = identity[keyword].to_json(1 << 20, None)
        assert any(mark in value for mark in (MARK, UID_MARK, DATE_MARK))


class TestSearch:
    @pytest.mark.parametrize("mark", IDENTITY)
    @pytest.mark.parametrize(
        "written",
        [
            lambda mark: mark.encode(),
            lambda mark: mark.lower().encode(),
            lambda mark: mark.encode("utf-16-le"),
            lambda mark: mark.encode().hex().encode(),
            *(lambda mark, lead=lead: base64.b64encode(lead + mark.encode() + b"^JANE") for lead in (b"", b"a", b"ab")),
        ],
    )
    def test_finds_a_mark_in_every_spelling(self, mark: str, written: Callable[[str], bytes]) -> None:
        assert find_marks(b"\x00 some bytes " + written(mark) + b" and more", *IDENTITY)

    @pytest.mark.parametrize("date", ["18770319", '"18770319120000"', "born 1877-03-19."])
    def test_finds_dates(self, date: str) -> None:
        assert find_marks(date.encode())

    @pytest.mark.parametrize("number", ["0.18770319", "118770319", "187703190"])
    def test_takes_no_number_for_a_date(self, number: str) -> None:
        assert not find_marks(number.encode(), *IDENTITY)

    def test_looks_into_volumes(self) -> None:
        array = blosc2.asarray(np.frombuffer(MARK.encode() * 8192, np.int16), cparams={"codec": blosc2.Codec.ZSTD})
        assert any(find_marks(part, MARK) for part in expand(array.to_cframe()))

    def test_looks_into_pictures(self) -> None:
        chunks = [(b"IDAT", zlib.compress(MARK.encode() * 99)), (b"IEND", b"")]
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(chunk)) + kind + chunk + bytes(4) for kind, chunk in chunks
        )
        assert not find_marks(png, MARK)
        assert any(find_marks(part, MARK) for part in expand(png))
