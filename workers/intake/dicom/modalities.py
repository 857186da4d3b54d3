"""The defined terms of Modality (PS3.3 C.7.3.1.1.1), retired ones included: all that is ever repeated of one."""

from __future__ import annotations

_TERMS = frozenset(
    {
        *("ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CD", "CFM", "CR", "CT", "CTPROTOCOL", "DD", "DF", "DG"),
        *("DM", "DMS", "DOC", "DS", "DX", "EC", "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FA", "FID", "FS", "GM"),
        *("HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LP", "LS", "M3D", "MA", "MG", "MR", "MS"),
        *("NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN", "POS"),
        *("PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD"),
        *("RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "ST", "STAIN", "TEXTUREMAP", "TG", "US"),
        *("VA", "VF", "XA", "XAPROTOCOL", "XC"),
    }
)
_OTHER = "UNKNOWN"


def name_modality(text: str) -> str:
    """Return a modality in capitals, or `UNKNOWN` for words that are none: they may be anything. Empty stays empty."""
    term = text.upper()
    return term if term in _TERMS or not term else _OTHER
