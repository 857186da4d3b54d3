"""Policies: strict reading, and an id that changes with every word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_weights.policies import (
    FindingText,
    Policy,
    find_line,
    load_policies,
    parse_policy,
    read_finding_texts,
    read_policy,
)
from model_weights.policies.lung_check import LungCheck, read_lung_check
from shared.errors import Defect
from shared.stages import StageName

POLICY = Policy(name="default", version="1", threshold=0.59, minimum_models=1)
TEXT = 'name = "a"\nversion = "1"\nthreshold = 0.5\nminimum_models = 1\n'


class TestIdentity:
    @pytest.mark.parametrize("change", [{"version": "2"}, {"threshold": 0.6}, {"minimum_models": 2}, {"name": "other"}])
    def test_every_change_makes_another_id(self, change: dict[str, object]) -> None:
        assert replace(POLICY, **change).id != POLICY.id  # type: ignore[arg-type]  # the parameters above

    def test_the_json_form_reads_back_as_the_same_policy(self) -> None:
        assert parse_policy(POLICY.to_document()) == POLICY

    def test_the_shipped_policies_keep_their_ids(self) -> None:
        assert [policy.id for policy in load_policies()] == ["default-1-be132872", "skeleton-1-5f10570d"]

    def test_finding_texts_make_another_policy_and_read_back(self) -> None:
        asked = replace(POLICY, finding_texts=(FindingText("Stent", "A stent is seen."), FindingText("Pacemaker")))
        assert asked.id != POLICY.id
        assert parse_policy(asked.to_document()) == asked
        assert read_finding_texts(asked.to_document()) == asked.finding_texts
        assert read_finding_texts(POLICY.to_document()) == ()

    def test_a_stored_policy_whose_words_changed_is_refused(self) -> None:
        with pytest.raises(Defect, match="names itself"):
            parse_policy({**POLICY.to_document(), "threshold": 0.1})


LINE = '[[calibration]]\nmodels = ["mednext", "ct_clip"]\nslope = 0.9\nintercept = -0.2\n'


class TestSetsOfModels:
    def read(self, folder: Path, said: str) -> Policy:
        (folder / "a.toml").write_text(TEXT + said)
        return read_policy(folder / "a.toml")

    def test_without_any_said_enough_models_are_enough(self) -> None:
        assert POLICY.allows([StageName.FVLM])
        assert not POLICY.allows([])

    def test_those_that_are_said_are_the_only_ones(self, tmp_path: Path) -> None:
        policy = self.read(tmp_path, 'allowed_subsets = [["mednext", "ct_clip"], ["fvlm"]]\n')
        assert policy.allows([StageName.CT_CLIP, StageName.MEDNEXT])
        assert policy.allows([StageName.FVLM])
        assert not policy.allows([StageName.MEDNEXT])
        assert parse_policy(policy.to_document()) == policy

    def test_calibration_is_found_by_who_answered(self, tmp_path: Path) -> None:
        policy = self.read(tmp_path, LINE)
        assert policy.calibration is not None
        line = find_line(policy.calibration, {StageName.CT_CLIP, StageName.MEDNEXT})
        assert line is not None
        assert line.apply(2.0) == pytest.approx(1.6)
        assert find_line(policy.calibration, {StageName.CT_CLIP}) is None
        assert parse_policy(policy.to_document()) == policy
        assert policy.id != self.read(tmp_path, "").id

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("allowed_subsets = []\n", "at least one"),
            ('allowed_subsets = [["segmentation"]]\n', "some of"),
            ("allowed_subsets = [[]]\n", "allow no answer"),
            ('allowed_subsets = [[["mednext"]]]\n', "some of"),
            (LINE.replace("0.9", "-0.9"), "not above 0"),
            (LINE.replace("0.9", "nan"), "must be a number"),
            (LINE.replace('"ct_clip"', '"mednext"'), "named twice"),
            (LINE.replace("slope", "scale"), "needs just"),
            (LINE + LINE, "same models"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, tmp_path: Path, said: str, told: str) -> None:
        with pytest.raises(Defect, match=rf"^a\.toml: .*{told}"):
            self.read(tmp_path, said)


class TestFindingThresholds:
    def read(self, tmp_path: Path, said: str) -> Policy:
        (tmp_path / "a.toml").write_text(f"{TEXT}{said}")
        return read_policy(tmp_path / "a.toml")

    def test_are_those_of_the_fusion_where_a_policy_says_nothing(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "").finding_thresholds is None

    def test_are_read_by_model_and_label_and_make_another_policy(self, tmp_path: Path) -> None:
        said = '[finding_thresholds.mednext]\nmass = 0.4\n[finding_thresholds.ct_clip]\n"Pleural effusion" = 0.7\n'
        policy = self.read(tmp_path, said)
        expected = {StageName.MEDNEXT: {"mass": 0.4}, StageName.CT_CLIP: {"Pleural effusion": 0.7}}
        assert policy.finding_thresholds == expected
        assert parse_policy(policy.to_document()) == policy
        assert policy.id != self.read(tmp_path, "").id

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("finding_thresholds = 3\n", "a table for each model"),
            ("finding_thresholds.mednext = 3\n", "labels and their probabilities"),
            ("finding_thresholds.segmentation.heart = 0.5\n", "have no labels"),
            ("finding_thresholds.mednext.flatulence = 0.5\n", "no labels of this model"),
            ("finding_thresholds.mednext.mass = 1\n", "not between 0 and 1"),
            ("finding_thresholds.mednext.mass = true\n", "not between 0 and 1"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, tmp_path: Path, said: str, told: str) -> None:
        with pytest.raises(Defect, match=rf"^a\.toml: .*{told}"):
            self.read(tmp_path, said)


class TestReading:
    def test_the_package_ships_the_default_and_the_skeleton(self) -> None:
        shipped = {policy.name: (policy.threshold, policy.minimum_models) for policy in load_policies()}
        assert shipped == {"default": (0.59, 1), "skeleton": (0.59, 0)}

    @pytest.mark.parametrize(
        "text",
        [
            TEXT.replace("0.5", "1.5"),
            TEXT.replace("minimum_models = 1", "minimum_models = -1"),
            TEXT.replace('"a"', '"A b"'),
            TEXT + 'calibration = "platt"\n',
            TEXT + "extra = 1\n",
            TEXT.replace("threshold = 0.5\n", ""),
            TEXT.replace('version = "1"', "version = 1"),
            "threshold =",
        ],
    )
    def test_a_wrong_file_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(Defect, match=r"^a\.toml: "):
            load_policies(tmp_path)

    def test_a_site_adds_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "own.toml").write_text(TEXT)
        assert [policy.name for policy in load_policies(tmp_path)] == ["default", "skeleton", "a"]

    def test_a_folder_of_a_site_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="CTCLIP_POLICIES_DIR names no folder"):
            load_policies(tmp_path / "absent")

    def test_a_policy_of_a_site_cannot_take_the_name_of_a_shipped_one(self, tmp_path: Path) -> None:
        (tmp_path / "own.toml").write_text(TEXT.replace('"a"', '"default"'))
        with pytest.raises(Defect, match=r"share a name: \['default'\]"):
            load_policies(tmp_path)

    def test_two_policies_of_one_name_are_refused(self, tmp_path: Path) -> None:
        for file in ("a.toml", "b.toml"):
            (tmp_path / file).write_text(TEXT)
        with pytest.raises(Defect, match="share a name"):
            load_policies(tmp_path)

    def test_a_job_without_a_policy_is_a_defect(self) -> None:
        with pytest.raises(Defect, match="wrong fields"):
            parse_policy({})


class TestFields:
    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("name", "5", "name must be"),
            ("name", f'"{"a" * 41}"', "name must be up to 40"),
            ("version", "1", "version must be a text in quotes"),
            ("version", '"1\\n2"', "version must be"),
            ("version", '"../1"', "version must be"),
            ("version", f'"{"1" * 41}"', "version must be"),
            ("threshold", '"0.5"', "threshold '0.5' is not between"),
            ("threshold", "true", "threshold True is not between"),
            ("threshold", "nan", "threshold nan is not between"),
            ("minimum_models", "1.5", "minimum_models 1.5 is no whole number"),
            ("minimum_models", "true", "minimum_models True is no whole number"),
            ("minimum_models", "6", "from 0 to 5"),
        ],
    )
    def test_a_value_that_means_nothing_is_named(self, tmp_path: Path, field: str, value: str, told: str) -> None:
        said = {"name": '"own"', "version": '"1"', "threshold": "0.5", "minimum_models": "1", field: value}
        (tmp_path / "own.toml").write_text("\n".join(f"{name} = {text}" for name, text in said.items()))
        with pytest.raises(Defect, match=told):
            read_policy(tmp_path / "own.toml")

    def test_a_file_nested_beyond_reading(self, tmp_path: Path) -> None:
        (tmp_path / "own.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
        with pytest.raises(Defect, match="nested too deep"):
            read_policy(tmp_path / "own.toml")


class TestFindingTexts:
    def read(self, folder: Path, *entries: str) -> Policy:
        path = folder / "own.toml"
        path.write_text(TEXT + "".join(f"[[finding_texts]]\n{entry}\n" for entry in entries))
        return read_policy(path)

    def test_statements_may_be_left_to_the_template(self, tmp_path: Path) -> None:
        policy = self.read(tmp_path, 'name = "Stent"', 'name = "Clip"\npresent = "A clip."\nabsent = "No clip."')
        assert policy.finding_texts == (FindingText("Stent"), FindingText("Clip", "A clip.", "No clip."))

    def test_a_name_may_be_in_any_language_where_the_statements_are_given(self, tmp_path: Path) -> None:
        policy = self.read(tmp_path, 'name = "Стент"\npresent = "A stent."\nabsent = "No stent."')
        assert policy.finding_texts[0].name == "Стент"

    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            ("", "every entry needs a `name`"),
            ("name = 3", "`name` is no text"),
            ('name = ""', "not empty"),
            ('name = " Stent"', "without spaces around it"),
            ('name = "Stent  seen"', "several in a row"),
            ('name = "Stent\\nseen"', "one line"),
            (f'name = "{"a" * 81}"', "has 81 characters; at most 80"),
            ('name = "a"\npresent = ""', "`present` must be one line"),
            ('name = "a"\nabsent = 1', "`absent` is no text"),
            (f'name = "a"\npresent = "{"a" * 241}"', "`present` has 241 characters; at most 240"),
            ('name = "a"\npresent = "A."\nabsent = "A."', "say the same"),
            ('name = "a"\npresent = "A b."\nabsent = "a B."', "say the same"),
            ('name = "..."', "holds no word"),
            ('name = "Стент"', "give `present` and `absent` in English"),
            ('name = "a"\npresent = "Стент."', "write `present` in English"),
            ('name = "a"\nthreshold = 0.5', r"unknown \['threshold'\]; known are"),
        ],
    )
    def test_what_cannot_be_asked_is_refused_with_a_word_of_advice(self, tmp_path: Path, entry: str, told: str) -> None:
        with pytest.raises(Defect, match=rf"^own\.toml: .*{told}"):
            self.read(tmp_path, entry)

    def test_no_list_of_them_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "own.toml").write_text(TEXT + 'finding_texts = "Stent"\n')
        with pytest.raises(Defect, match="expected a list"):
            read_policy(tmp_path / "own.toml")

    def test_two_of_one_name_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="two are named alike"):
            self.read(tmp_path, 'name = "Stent"', 'name = "stent"')

    def test_two_names_that_look_alike_are_refused(self, tmp_path: Path) -> None:
        composed, decomposed = (f'name = "Caf{last}"\npresent = "A."' for last in ("\u00e9", "e\u0301"))
        with pytest.raises(Defect, match="two are named alike"):
            self.read(tmp_path, f'{composed}\nabsent = "B."', f'{decomposed}\nabsent = "C."')

    def test_two_that_say_the_same_are_refused(self, tmp_path: Path) -> None:
        said = 'present = "A."\nabsent = "B."'
        with pytest.raises(Defect, match="two are stated alike"):
            self.read(tmp_path, f'name = "a"\n{said}', f'name = "b"\n{said}')

    def test_as_many_as_fit_are_taken_and_one_more_is_refused(self, tmp_path: Path) -> None:
        names = [f'name = "finding {number}"' for number in range(65)]
        assert len(self.read(tmp_path, *names[:64]).finding_texts) == 64
        with pytest.raises(Defect, match="65 are too many; at most 64"):
            self.read(tmp_path, *names)


class TestLungCheck:
    def test_policies_that_say_nothing_warn_and_keep_their_id(self) -> None:
        policy = Policy("own", "1", 0.5, 1)
        assert policy.lung_check is LungCheck.WARN
        assert "lung_check" not in policy.to_document()
        assert read_lung_check(policy.to_document()) is LungCheck.WARN

    def test_a_policy_that_rejects_is_stored_and_read_as_such(self) -> None:
        policy = Policy("own", "1", 0.5, 1, lung_check=LungCheck.REJECT)
        assert policy.id != Policy("own", "1", 0.5, 1).id
        assert read_lung_check(policy.to_document()) is LungCheck.REJECT
        assert parse_policy(policy.to_document()) == policy

    def test_another_word_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "own.toml"
        path.write_text('name = "own"\nversion = "1"\nthreshold = 0.5\nminimum_models = 1\nlung_check = "ask"\n')
        with pytest.raises(Defect, match=r"own\.toml: lung_check is 'ask'"):
            read_policy(path)
