"""Frozen weights of several models are held once, and stay shared; trained ones never are."""

import copy

import torch

from modise_lightning.training.shared_weights import share_frozen
from one_convolution import segmenter


def test_equal_frozen_weights_become_one_and_others_stay() -> None:
    one = segmenter()
    same, other = copy.deepcopy(one), copy.deepcopy(one)
    with torch.no_grad():
        other.backbone.frozen.weight[0, 0, 0, 0] += 1
    trained = {name: own.data_ptr() for name, own in same.named_parameters() if own.requires_grad}
    saved = share_frozen([one, same, other])
    frozen = one.backbone.frozen
    assert same.backbone.frozen.weight is frozen.weight
    assert other.backbone.frozen.weight is not frozen.weight
    assert other.backbone.frozen.bias is frozen.bias is same.backbone.frozen.bias
    assert saved == frozen.weight.nbytes + 2 * frozen.bias.nbytes
    assert {name: own.data_ptr() for name, own in same.named_parameters() if own.requires_grad} == trained
    assert share_frozen([one, same, other]) == 0


def test_a_move_keeps_them_shared() -> None:
    one = segmenter()
    both = torch.nn.ModuleList([one, copy.deepcopy(one)])
    share_frozen(list(both))
    both.to(torch.float64)
    first, second = both[0].backbone.frozen.weight, both[1].backbone.frozen.weight
    assert first.data_ptr() == second.data_ptr()
    assert first.dtype == torch.float64
