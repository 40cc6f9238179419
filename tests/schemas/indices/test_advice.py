import pytest

from schemas.indices.advice import ADVICE, CATEGORY_NAMES, LANGUAGES, NO_DATA_ADVICE, category_name
from schemas.indices.hourly import INDICES


def test_every_category_of_every_index_has_advice_in_every_language() -> None:
    severities = {category.severity for index in INDICES.values() for category in index.categories}
    for language in LANGUAGES:
        assert severities <= set(range(len(ADVICE[language])))
        assert NO_DATA_ADVICE[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_stands_for_two_levels_or_two_audiences(language: str) -> None:
    sentences = [s for advice in ADVICE[language] for s in (advice.adults, advice.sensitive, advice.children)]
    assert len(set(sentences)) == len(sentences)
    assert all(s[0].isupper() and s.endswith(".") for s in sentences)


@pytest.mark.parametrize("language", CATEGORY_NAMES)
def test_every_category_has_a_name_in_every_language(language: str) -> None:
    names = {category.name for index in INDICES.values() for category in index.categories}
    assert names <= set(CATEGORY_NAMES[language])
    assert category_name("Good", "en") == "Good"
    assert category_name("Good", language) != "Good"
