"""The 35 labels are those of cityscapesScripts."""

import torchvision

from src.data.cityscapes_labels import CLASS_NAMES, COLOURS, ID_OF_TRAIN_ID, LABELS, TRAIN_ID_OF_ID

# name, id, trainId, red, green, blue; one label a line.
TABLE = """
unlabeled,0,255,0,0,0
ego vehicle,1,255,0,0,0
rectification border,2,255,0,0,0
out of roi,3,255,0,0,0
static,4,255,0,0,0
dynamic,5,255,111,74,0
ground,6,255,81,0,81
road,7,0,128,64,128
sidewalk,8,1,244,35,232
parking,9,255,250,170,160
rail track,10,255,230,150,140
building,11,2,70,70,70
wall,12,3,102,102,156
fence,13,4,190,153,153
guard rail,14,255,180,165,180
bridge,15,255,150,100,100
tunnel,16,255,150,120,90
pole,17,5,153,153,153
polegroup,18,255,153,153,153
traffic light,19,6,250,170,30
traffic sign,20,7,220,220,0
vegetation,21,8,107,142,35
terrain,22,9,152,251,152
sky,23,10,70,130,180
person,24,11,220,20,60
rider,25,12,255,0,0
car,26,13,0,0,142
truck,27,14,0,0,70
bus,28,15,0,60,100
caravan,29,255,0,0,90
trailer,30,255,0,0,110
train,31,16,0,80,100
motorcycle,32,17,0,0,230
bicycle,33,18,119,11,32
license plate,-1,-1,0,0,142
"""
ROWS = [line.split(",") for line in TABLE.split("\n") if line]
EXPECTED = [(name, int(id_), int(train_id), tuple(map(int, rgb))) for name, id_, train_id, *rgb in ROWS]


def test_all_35_labels_are_the_published_ones() -> None:
    assert [tuple(label) for label in LABELS] == EXPECTED
    assert len(EXPECTED) == 35


def test_they_are_torchvisions_too() -> None:
    theirs = [
        (label.name, label.id, label.train_id, label.color)
        for label in torchvision.datasets.Cityscapes.classes
    ]
    assert theirs == EXPECTED


def test_names_colours_and_ids_are_in_the_order_of_train_ids() -> None:
    trained = sorted((row for row in EXPECTED if 0 <= row[2] < 255), key=lambda row: row[2])
    assert tuple(row[0] for row in trained) == CLASS_NAMES
    assert tuple(row[3] for row in trained) == COLOURS
    for train_id, (_, id_, _, _) in enumerate(trained):
        assert TRAIN_ID_OF_ID[id_] == train_id
        assert ID_OF_TRAIN_ID[train_id] == id_
    assert ID_OF_TRAIN_ID[255] == 0
