"""The record of a run: written and read back, damaged, of earlier formats, added up."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from old_formats import to_format_1

from beamvec.embeddings.failure_count import FailureCount
from beamvec.embeddings.run_record import Counts, InputRecord, RunRecord, Throughput, Timings
from beamvec.embeddings.schema import FORMAT_VERSION
from beamvec.embeddings.settings import Settings
from beamvec.errors import DatasetError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.decoding.resize import RESIZE_MODES

texts = st.text(max_size=6)
counts = st.integers(0, 2**52)
seconds = st.floats(0, 1e9)
several = st.lists(texts, max_size=3).map(tuple)
names = st.dictionaries(texts, texts, max_size=3)
specs = st.builds(ModelSpec, texts, scale=seconds, resize=st.sampled_from(RESIZE_MODES))
all_settings = st.builds(
    Settings, texts, specs, texts, texts, counts, names, st.just(FORMAT_VERSION), counts
)


def records_of(appended):
    return st.builds(
        RunRecord,
        settings=all_settings,
        model=texts,
        dimension=counts,
        counts=st.builds(Counts, *[counts] * len(fields(Counts))),
        version=texts,
        generation=counts,
        state=st.sampled_from(["running", "failed", "finished"]),
        error=st.none() | texts,
        input_size=counts,
        weights=st.none() | texts,
        input=st.builds(InputRecord, texts, several, texts),
        batch_size=counts,
        chunk_size=counts,
        runner=texts,
        versions=names,
        failures=st.lists(st.builds(FailureCount, texts, texts, counts, texts), max_size=2).map(
            tuple
        ),
        changed=several,
        model_loads=counts,
        timings=st.builds(Timings, texts, texts, *[seconds] * 7),
        throughput=st.builds(Throughput, counts, st.lists(counts, max_size=3).map(tuple)),
        notes=several,
        appended=appended,
    )


one_run = records_of(st.just(()))
records = records_of(st.lists(one_run, max_size=2).map(tuple))
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RECORD = RunRecord(Settings("f" * 64, format_version=FORMAT_VERSION), "m", 3)


@slow
@given(records)
def test_what_is_written_is_read_back(record):
    assert RunRecord.from_json(record.to_json(), "run.json") == record
    assert RunRecord.from_json(record.to_json().encode(), "run.json") == record


def places_of(content, place=()):
    """Yield the place of every value in a JSON content."""
    yield place
    if isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for name, value in items:
            yield from places_of(value, (*place, name))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


def read_or_refuse(text):
    """Read a record, whatever it holds; any error but `DatasetError` fails the test."""
    try:
        record = RunRecord.from_json(text, "run.json")
    except DatasetError:
        return
    assert RunRecord.from_json(record.to_json(), "run.json") == record


@slow
@given(one_run, st.data(), st.booleans())
def test_a_record_with_one_value_exchanged_is_read_or_refused(record, data, is_old):
    content = json.loads(record.to_json())
    content = to_format_1(content) if is_old else content
    place = data.draw(st.sampled_from(list(places_of(content))))
    value = data.draw(json_values)
    if not place:
        content = value
    else:
        *above, name = place
        holder = content
        for step in above:
            holder = holder[step]
        holder[name] = value
    read_or_refuse(json.dumps(content))


@slow
@given(one_run, st.data())
def test_a_record_with_damaged_bytes_is_read_or_refused(record, data):
    content = bytearray(record.to_json().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(content[: data.draw(st.integers(0, len(content)))]))
    read_or_refuse(bytes(content))


@given(st.binary(max_size=40) | json_values.map(json.dumps))
def test_what_is_no_record_is_refused(content):
    with pytest.raises(DatasetError, match=r"run\.json"):
        RunRecord.from_json(content, "run.json")


@pytest.mark.parametrize("text", ['{"a": ' * 100_000, "[" * 100_000, '{"dimension": NaN}'])
def test_what_json_itself_stumbles_over_is_refused(text):
    with pytest.raises(DatasetError, match=r"run\.json is damaged"):
        RunRecord.from_json(text, "run.json")


def test_the_place_of_the_damage_is_named():
    content = json.loads(RECORD.append(RECORD).to_json())
    content["appended"][0]["counts"]["inputs"] = "many"
    with pytest.raises(DatasetError, match=r'appended\[0\]\.counts\.inputs is "many"'):
        RunRecord.from_json(json.dumps(content), "run.json")
    del content["settings"]["fingerprint"]
    with pytest.raises(DatasetError, match=r"settings\.fingerprint is missing"):
        RunRecord.from_json(json.dumps(content), "run.json")


@slow
@given(one_run)
def test_format_1_is_read_as_what_it_was(record):
    record = replace(record, input=InputRecord("manifest", ("m.csv",), "0" * 64), state="finished")
    old = RunRecord.from_json(json.dumps(to_format_1(json.loads(record.to_json()))), "run.json")
    assert old.settings == replace(record.settings, format_version=1)
    kept = ("model", "dimension", "input_size", "weights", "input", "failures")
    for name in (*kept, "timings", "throughput", "runner", "batch_size", "chunk_size"):
        assert getattr(old, name) == getattr(record, name)
    assert old.version == "0.1.0"
    assert old.counts.accounted == record.counts.accounted
    assert RunRecord.from_json(old.to_json(), "run.json") == old


def test_what_a_run_of_format_1_noted_is_read():
    text = json.dumps({"settings": {"model": "ab", "resize": "pad"}, "generation": 2})
    begun = RunRecord.from_old_settings(text, "settings.json")
    assert (begun.settings.fingerprint, begun.settings.said.resize) == ("ab", "pad")
    assert (begun.settings.format_version, begun.generation, begun.state) == (1, 2, "running")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": 1}', '{"settings": {"model": 1}}'])
def test_damaged_notes_of_format_1_are_refused(text):
    with pytest.raises(DatasetError, match=r"settings\.json is damaged"):
        RunRecord.from_old_settings(text, "settings.json")


def test_a_later_format_is_refused_whatever_it_holds():
    text = json.dumps({"settings": {"format_version": FORMAT_VERSION + 1}})
    with pytest.raises(DatasetError, match="upgrade beamvec"):
        RunRecord.from_json(text, "run.json")


@given(all_settings, all_settings)
def test_differences_name_what_differs_and_nothing_else(one, other):
    told = one.differences(other)
    assert bool(told) == (one != other)
    assert not one.differences(replace(one, format_version=1))
    for one_part, other_part in ((one, other), (one.said, other.said)):
        for item in fields(one_part):
            name = "model" if item.name == "fingerprint" else item.name
            found, wanted = (getattr(part, item.name) for part in (one_part, other_part))
            if found != wanted and name != "said":
                assert f"{name} is {found}, not {wanted}" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fingerprint": "0"}, "model is 1, not 0"),
        (
            {"said": ModelSpec(resize="pad"), "engine": "openvino"},
            "engine is tensorflow, not openvino, resize is stretch, not pad",
        ),
        ({"columns": {"label": "string"}}, "columns is {}, not {'label': 'string'}"),
        ({"rows_per_shard": 7}, "rows_per_shard is 50000, not 7"),
    ],
)
def test_differences_are_told_in_words(changes, told):
    assert Settings("1").differences(replace(Settings("1"), **changes)).startswith(told)


def test_appends_add_up_but_for_failures_which_are_tried_again():
    failures = (FailureCount("read", "OSError", 2, "gone"),)
    record = replace(RECORD, counts=Counts(inputs=5, embeddings=3, failures=2), failures=failures)
    later = replace(RECORD, counts=Counts(inputs=-1, embeddings=1, known=3), generation=1)
    whole = record.append(later)
    assert whole.counts == Counts(inputs=4, embeddings=4, known=3)
    assert whole.counts.accounted == whole.counts.inputs
    assert (whole.failures, whole.latest, record.latest) == ((), later, record)


def test_an_image_that_is_there_counts_once_however_often_one_appends():
    whole = replace(RECORD, counts=Counts(inputs=3, embeddings=3))
    for changed in (1, 1, 0):
        looked = Counts(known=3, changed=changed, relabelled=2 * changed)
        whole = whole.append(replace(RECORD, counts=looked))
        assert whole.counts == replace(looked, inputs=3, embeddings=3)
    assert [each.counts.changed for each in whole.appended] == [1, 1, 0]


def test_failures_are_described_the_most_frequent_first():
    old = FailureCount("read", "DecoderCrash", 7, "word " * 50)
    new = FailureCount("read", "OSError", 2, "cut at 7", "cut at …")
    first, second = replace(RECORD, failures=(new, old)).describe_failures()
    assert first == "7 x read: DecoderCrash, such as: " + " ".join(["word"] * 18)
    assert second == "2 x read: cut at …"


def test_ratios_of_nothing_are_nothing():
    assert Counts().failure_ratio == 0.0
    assert Counts(failures=1).failure_ratio == 1.0
