"""Problems of the study, found by intake in its files."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind, show_of_job

KINDS: Mapping[ProblemCode, ProblemKind] = {
    ProblemCode.NO_DICOM_IMAGES: ProblemKind(
        "There are no DICOM images",
        422,
        "Send the exported DICOM files, not reports or pictures of them.",
        cause="No file of the archive is a DICOM image (PS3.10): there are only texts, PDFs, pictures or a DICOMDIR. "
        "Intake lists each file with what it was taken for.",
        example=show_of_job("None of the 3 files is a DICOM image."),
        related=(ProblemCode.WRONG_MODALITY, ProblemCode.NO_USABLE_SERIES),
    ),
    ProblemCode.WRONG_MODALITY: ProblemKind(
        "There is no CT",
        422,
        "Send a chest CT. `found` names what came.",
        cause="There are DICOM files, but none with Modality CT (0008,0060) that holds pixels: for example MR, CR, SR "
        "or RTSTRUCT only.",
        example=show_of_job("The files are MR, not CT images.", found=["MR"]),
        related=(ProblemCode.NO_DICOM_IMAGES, ProblemCode.NO_USABLE_SERIES),
    ),
    ProblemCode.MIXED_STUDIES: ProblemKind(
        "The archive holds more than one study or patient",
        422,
        "Send one ZIP per study, or send it again with `split=true`. If there are `jobs`, that was done: follow them.",
        cause="The files carry more than one StudyInstanceUID (0020,000D) or more than one PatientID (0010,0020). "
        "`studies` lists the studies; patients are counted and never named. A prior study that the PACS exported along "
        "is the usual reason. With `split=true` there is a job for each study, and `jobs` names them; two patients in "
        "one StudyInstanceUID cannot be told apart by it.",
        example=show_of_job(
            "The archive holds 2 studies of 1 patient.",
            study_instance_uids=["1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"],
            studies=[
                {
                    "study_instance_uid": "1.2.826.0.1.3680043.8.498.1",
                    "slices": 248,
                    "files": 251,
                    "modalities": ["CT", "SR"],
                },
                {
                    "study_instance_uid": "1.2.826.0.1.3680043.8.498.2",
                    "slices": 96,
                    "files": 96,
                    "modalities": ["CT"],
                },
            ],
            patients=1,
        ),
        related=(ProblemCode.CONFLICTING_DUPLICATES, ProblemCode.ARCHIVE_TOO_MANY_ENTRIES),
    ),
    ProblemCode.PHANTOM_STUDY: ProblemKind(
        "All images show a phantom",
        422,
        "These are images of quality control. Send a chest CT of a patient.",
        cause="Every CT image says QualityControlImage YES (0028,0300): a phantom that the scanner is checked with.",
        example=show_of_job("All images are of a phantom for quality control."),
        related=(ProblemCode.NO_USABLE_SERIES,),
    ),
    ProblemCode.SERIES_NOT_FOUND: ProblemKind(
        "The series asked for is not in the study",
        422,
        "Leave `series_instance_uid` out, or name one that intake lists.",
        cause="The option `series_instance_uid` names a SeriesInstanceUID (0020,000E) that no CT series of the upload "
        "has. It may be that of a localiser or of a secondary capture: these are set aside.",
        example=show_of_job(
            "The series asked for is not among the CT series of the study.",
            series_instance_uid="1.2.826.0.1.3680043.8.498.7",
        ),
        related=(ProblemCode.NO_USABLE_SERIES,),
    ),
    ProblemCode.NO_USABLE_SERIES: ProblemKind(
        "No series can be read as an axial chest CT",
        422,
        "Send the axial slices of the chest as the scanner made them. Intake lists every candidate and why it lost.",
        cause="There are CT images, but no stack of axial slices: only localisers (ImageType value 3 LOCALIZER), "
        "secondary captures, coronal or sagittal reformats, projections, or files that were rejected for their "
        "structure or size.",
        example=show_of_job("There are only localisers or secondary captures."),
        related=(ProblemCode.WRONG_MODALITY, ProblemCode.INSUFFICIENT_COVERAGE, ProblemCode.NO_LUNGS_FOUND),
    ),
    ProblemCode.INSUFFICIENT_COVERAGE: ProblemKind(
        "The series is too short",
        422,
        "Send the whole chest. `found_mm` and `needed_mm` say how much is missing.",
        cause="The slices, or the lungs in them, cover less of the body along its axis than a reading of the chest "
        "needs. Measured by ImagePositionPatient (0020,0032), not by the number of slices. Often a part of the series "
        "is still on its way into the PACS.",
        example=show_of_job(
            "The series covers 42.0 mm (15 of at least 20 slices); 145 mm of lungs are needed.",
            found_mm=42.0,
            needed_mm=145.0,
        ),
        related=(ProblemCode.NO_LUNGS_FOUND, ProblemCode.SLICE_GAP, ProblemCode.SERIES_INCOMPLETE),
    ),
    ProblemCode.NO_LUNGS_FOUND: ProblemKind(
        "No lungs were found",
        422,
        "Send a CT of the chest in Hounsfield units.",
        cause="The volume shows too little air inside a body to be lungs: a head, an abdomen, or values that are no "
        "Hounsfield units (RescaleSlope and RescaleIntercept wrong). `lung_volume_ml` and `lung_length_mm` say what "
        "was seen.",
        example=show_of_job(
            "12 ml of lung were found; a chest has at least 300 ml.",
            lung_volume_ml=12.4,
            lung_length_mm=0.0,
            scan_length_mm=190.0,
            lung_share=0.0,
            body_share=0.316,
            air_share=0.004,
        ),
        related=(ProblemCode.INSUFFICIENT_COVERAGE, ProblemCode.INVALID_RESCALE),
    ),
    ProblemCode.MISSING_REQUIRED_TAGS: ProblemKind(
        "Required DICOM attributes are missing",
        422,
        "Export again from the PACS without removing `tags`.",
        cause="Most CT images lack attributes that a volume cannot be made without: ImagePositionPatient (0020,0032), "
        "ImageOrientationPatient (0020,0037), PixelSpacing (0028,0030), RescaleSlope and RescaleIntercept (0028,1053 "
        "and 1052), Rows, Columns. `tags` counts the files that lack each. Anonymisers that remove too much are the "
        "usual reason.",
        example=show_of_job("248 files: without ImagePositionPatient.", files=248, tags={"ImagePositionPatient": 248}),
        related=(ProblemCode.INVALID_GEOMETRY, ProblemCode.INVALID_RESCALE),
    ),
    ProblemCode.INVALID_GEOMETRY: ProblemKind(
        "The geometry makes no sense",
        422,
        "Spacing must be positive and direction cosines orthonormal. Export again.",
        cause="PixelSpacing (0028,0030) is zero, negative or not a number, ImageOrientationPatient (0020,0037) is not "
        "two unit vectors at a right angle (PS3.3 C.7.6.2.1.1), a position is far outside of any scanner, the images "
        "are more than 1 m wide or high, the slices more than 20 mm apart or the series longer than 3 m, or the slices "
        "are shifted against each other by more than a gantry tilts.",
        example=show_of_job("248 files: direction cosines are not unit and orthogonal.", files=248),
        related=(ProblemCode.MISSING_REQUIRED_TAGS, ProblemCode.SLICE_GAP),
    ),
    ProblemCode.INVALID_RESCALE: ProblemKind(
        "RescaleSlope or RescaleIntercept makes no sense",
        422,
        "Export again from the PACS.",
        cause="RescaleSlope (0028,1053) is zero or RescaleSlope or RescaleIntercept (0028,1052) is not a finite, "
        "plausible number, so that stored values cannot be turned into Hounsfield units (PS3.3 C.7.6.16.2.9, C.11.1).",
        example=show_of_job("248 files: slope 0.0, intercept -1024.0.", files=248),
        related=(ProblemCode.MISSING_REQUIRED_TAGS, ProblemCode.NO_LUNGS_FOUND),
    ),
    ProblemCode.SLICE_GAP: ProblemKind(
        "Slices are missing",
        422,
        "Send the whole series. `positions_mm` says where the gaps are.",
        cause="Along the normal of the slices, positions are missing: more than one slice at a place, or more than "
        "one in ten. `positions_mm` are the heights (mm, patient space) of the slices below and above each gap. "
        "Single missing slices are interpolated with the warning `slices_interpolated`. Or several phases lie at the "
        "same places and nothing tells their slices apart, not even InstanceNumber (0020,0013): then both heights are "
        "equal, and each phase must be sent as a series of its own.",
        example=show_of_job(
            "Slices are missing or unevenly spaced at 1 places.",
            spacing_mm=1.25,
            positions_mm=[[-141.25, -135.0]],
            missing_slices=4,
        ),
        related=(ProblemCode.SERIES_INCOMPLETE, ProblemCode.INSUFFICIENT_COVERAGE),
    ),
    ProblemCode.CONFLICTING_DUPLICATES: ProblemKind(
        "Two different images claim the same SOPInstanceUID",
        422,
        "Send the study as the PACS holds it, once.",
        cause="Files with the same SOPInstanceUID (0008,0018) hold different pixels, so nobody can say which is "
        "right: for example an original and a post-processed copy that kept the UID. True copies are read once, with "
        "the warning `duplicate_instances`.",
        example=show_of_job(
            "1 SOPInstanceUIDs stand for more than one image each.",
            sop_instance_uids=["1.2.826.0.1.3680043.8.498.40"],
        ),
        related=(ProblemCode.MIXED_STUDIES,),
    ),
    ProblemCode.SERIES_INCOMPLETE: ProblemKind(
        "Unreadable files leave the series incomplete",
        422,
        "Intake lists the files. Send them again.",
        cause="So many files of the series are damaged (a wrong checksum in the ZIP, cut or undecodable PixelData) "
        "that the slices which are left have gaps. The files are there, but cannot be read; were they absent, the "
        "code would be `slice_gap`.",
        example=show_of_job("15 files: the compressed bytes are damaged.", files=15),
        related=(ProblemCode.SLICE_GAP, ProblemCode.ARCHIVE_CORRUPT, ProblemCode.UNDECODABLE),
    ),
    ProblemCode.TRANSFER_SYNTAX_UNSUPPORTED: ProblemKind(
        "The images are compressed in a way that cannot be read",
        422,
        "Export uncompressed or as JPEG-LS.",
        cause="TransferSyntaxUID (0002,0010) names a compression that is not for CT slices or that nobody knows: a "
        "video, a private syntax. Native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K are read.",
        example=show_of_job("248 files: transfer syntax MPEG-4 AVCH.264 High Profile  Level 4.1.", files=248),
        related=(ProblemCode.ARCHIVE_METHOD_UNSUPPORTED, ProblemCode.UNDECODABLE),
    ),
    ProblemCode.UNDECODABLE: ProblemKind(
        "The study crashes the decoder",
        422,
        "Export the study again; send it to support if it stays so.",
        cause="The process that reads untrusted files was ended twice by this study: by a crash in a decoder, or by "
        "the limits of time and memory. Nothing else was harmed.",
        example=show_of_job("Reading the study ended its process 2 times: it was ended by signal 11.", attempts=2),
        related=(ProblemCode.SERIES_INCOMPLETE, ProblemCode.WORKER_LOST),
    ),
    ProblemCode.NIFTI_UNREADABLE: ProblemKind(
        "The NIfTI file cannot be read",
        422,
        "Send one 3-D volume in Hounsfield units as `.nii` or `.nii.gz`.",
        cause="The header is no NIfTI-1 or NIfTI-2, the file ends before its voxels do, there is more than one "
        "volume, the affine is no right-angled one with positive spacing, or a value is no number.",
        example=show_of_job("The NIfTI file has the shape 64x64x40x3; one 3-D volume is expected."),
        related=(ProblemCode.NOT_AN_ARCHIVE, ProblemCode.NO_LUNGS_FOUND),
    ),
}
