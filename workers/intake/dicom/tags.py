"""The attributes that intake reads, by keyword (PS3.6). Nothing else of a file is looked at."""

from __future__ import annotations

from enum import IntEnum


class Tag(IntEnum):
    """Attributes as 0xGGGGEEEE."""

    MediaStorageSOPClassUID = 0x00020002
    TransferSyntaxUID = 0x00020010
    ImageType = 0x00080008
    SOPClassUID = 0x00080016
    SOPInstanceUID = 0x00080018
    Modality = 0x00080060
    Manufacturer = 0x00080070
    SeriesDescription = 0x0008103E
    PatientID = 0x00100020
    IssuerOfPatientID = 0x00100021
    ContrastBolusAgent = 0x00180010
    BodyPartExamined = 0x00180015
    SliceThickness = 0x00180050
    KVP = 0x00180060
    ProtocolName = 0x00181030
    FilterType = 0x00181160
    ConvolutionKernel = 0x00181210
    StudyInstanceUID = 0x0020000D
    SeriesInstanceUID = 0x0020000E
    AcquisitionNumber = 0x00200012
    InstanceNumber = 0x00200013
    ImagePositionPatient = 0x00200032
    ImageOrientationPatient = 0x00200037
    FrameOfReferenceUID = 0x00200052
    TemporalPositionIdentifier = 0x00200100
    SamplesPerPixel = 0x00280002
    PhotometricInterpretation = 0x00280004
    NumberOfFrames = 0x00280008
    Rows = 0x00280010
    Columns = 0x00280011
    PixelSpacing = 0x00280030
    BitsAllocated = 0x00280100
    BitsStored = 0x00280101
    HighBit = 0x00280102
    PixelRepresentation = 0x00280103
    PixelPaddingValue = 0x00280120
    PixelPaddingRangeLimit = 0x00280121
    QualityControlImage = 0x00280300
    BurnedInAnnotation = 0x00280301
    RescaleIntercept = 0x00281052
    RescaleSlope = 0x00281053
    RescaleType = 0x00281054
    LossyImageCompression = 0x00282110
    LossyImageCompressionRatio = 0x00282112
    SharedFunctionalGroupsSequence = 0x52009229
    PerFrameFunctionalGroupsSequence = 0x52009230
    PixelData = 0x7FE00010


WANTED = frozenset(int(tag) for tag in Tag)
"""Every attribute above, for the scanner."""
