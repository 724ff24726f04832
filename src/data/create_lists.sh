#!/usr/bin/env bash
# Write the four lists that cityscapes_yu reads, beside leftImg8bit and gtFine, which hold its images and train ids.
#
#   bash src/data/create_lists.sh ROOT
#
# Paths in the lists are relative to ROOT. A line of the images' list and the same line of the labels' are one scene.
set -euo pipefail

die() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

[ $# = 1 ] || die "usage: bash src/data/create_lists.sh ROOT, the folder that holds leftImg8bit and gtFine"
[ -d "$1" ] || die "$1 is no folder; name the one that holds leftImg8bit and gtFine"
cd -- "$1" 2>/dev/null || die "$1 cannot be entered; mend its permissions"
[ -w . ] || die "$1 cannot be written to, where the lists belong; mend its permissions"
beside=$(mktemp -d .lists.XXXXXX)
trap 'rm -rf "$beside"' EXIT

for part in train val; do
    [ -d "leftImg8bit/$part" ] || die "$1/leftImg8bit/$part is missing"
    find -L "leftImg8bit/$part" -name '*_leftImg8bit.png' | LC_ALL=C sort >"$beside/${part}_images.txt"
    [ -s "$beside/${part}_images.txt" ] || die "$1/leftImg8bit/$part holds no *_leftImg8bit.png"
    # The labels are named after the images and not searched for: so both lists have one order.
    sed 's|^leftImg8bit/|gtFine/|; s|_leftImg8bit\.png$|_gtFine_trainIds.png|' \
        "$beside/${part}_images.txt" >"$beside/${part}_labels.txt"
    while IFS= read -r label; do
        [ -e "$label" ] || die "$1/$label is missing; python3 src/data/prepare_data.py $1/gtFine/ makes it"
    done <"$beside/${part}_labels.txt"
done

mv "$beside"/*.txt .
wc -l {train,val}_{images,labels}.txt
