"""Groups of ImageNet's classes, by their places in WordNet's file of nouns."""

from collections import Counter

import pytest

from analysis.data import load_dataset
from analysis.data.source_tasks import COARSE_GROUPS, coarse_groups

KNOWN = {
    "n01440764_tench": "other animals",
    "n01514668_cock": "birds",
    "n01629819_European_fire_salamander": "other animals",
    "n01855672_goose": "birds",
    "n01882714_koala": "other mammals",
    "n01910747_jellyfish": "other animals",
    "n02056570_king_penguin": "birds",
    "n02066245_grey_whale": "other mammals",
    "n02085620_Chihuahua": "dogs",
    "n02113978_Mexican_hairless": "dogs",
    "n02123045_tabby": "other mammals",
    "n02206856_bee": "other animals",
    "n02510455_giant_panda": "other mammals",
    "n02655020_puffer": "other animals",
    "n02666196_abacus": "artefacts",
    "n06874185_traffic_light": "artefacts",
    "n07565083_menu": "food, plants, fungi",
    "n09472597_volcano": "land, sea, people",
    "n12057211_yellow_lady's_slipper": "food, plants, fungi",
    "n15075141_toilet_tissue": "artefacts",
}


def test_classes_at_the_borders_are_in_their_groups():
    assert coarse_groups(KNOWN).tolist() == [*KNOWN.values()]


@pytest.mark.parametrize("names", [(), ("tabby",), ("n02123045_tabby", "n123_short")])
def test_other_names_have_no_groups(names):
    assert coarse_groups(names) is None


def test_all_thousand_classes_have_groups(lent_data):
    sizes = Counter(coarse_groups(load_dataset("imagenet_sample").classes).tolist())
    assert set(sizes) == set(COARSE_GROUPS)
    assert (sizes["birds"], sizes["dogs"]) == (59, 118)
