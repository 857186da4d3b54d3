"""The network of a segmentation entry: nnU-Net's plain convolutional U-Net, built by the library that nnU-Net uses.

Isensee et al., nnU-Net (Nature Methods 2021); Wasserthal et al., TotalSegmentator (Radiology: AI 2023). The library
(`dynamic_network_architectures`, Apache-2.0) keeps the encoder under several names; weights hold each tensor once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor, nn

from model_weights.matching import require_fit
from workers.segmentation.configuration import Architecture

NETWORK_CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"

_LIBRARY_NAMES = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "dropout_op": None,
    "nonlin": "torch.nn.LeakyReLU",
}
"""Classes as nnU-Net's plans name them."""


def describe_arguments(architecture: Architecture) -> dict[str, Any]:
    """Return `arch_kwargs` of nnU-Net's plans, classes by name."""
    return {
        "n_stages": architecture.n_stages,
        "features_per_stage": list(architecture.features_per_stage),
        "kernel_sizes": [list(kernel) for kernel in architecture.kernel_sizes],
        "strides": [list(stride) for stride in architecture.strides],
        "n_conv_per_stage": list(architecture.n_conv_per_stage),
        "n_conv_per_stage_decoder": list(architecture.n_conv_per_stage_decoder),
        "conv_bias": architecture.conv_bias,
        "norm_op_kwargs": {"eps": architecture.norm_eps, "affine": True},
        "dropout_op_kwargs": None,
        "nonlin_kwargs": {"inplace": True},
        **_LIBRARY_NAMES,
    }


def make_untrained(architecture: Architecture, outputs: int) -> PlainConvUNet:
    """Return the network with the library's random weights: one channel of (b, 1, z, y, x) in, `outputs` out."""
    classes = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "dropout_op": None, "nonlin": nn.LeakyReLU}
    arguments = {**describe_arguments(architecture), **classes}
    return PlainConvUNet(input_channels=1, num_classes=outputs, deep_supervision=False, **arguments)


def make_network(architecture: Architecture, outputs: int, tensors: Mapping[str, Tensor]) -> PlainConvUNet:
    """Return the network with exactly these weights, ready for inference. Raises Defect when they do not fit."""
    with torch.device("meta"):
        network = make_untrained(architecture, outputs)
    named = dict(network.named_parameters())
    aliases = network.state_dict().keys() - named.keys()
    require_fit(
        "the segmentation",
        {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()},
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        optional=aliases,
    )
    network.load_state_dict({name: tensors[name].float() for name in named}, strict=False, assign=True)
    network.eval().requires_grad_(requires_grad=False)
    return network


def collect_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return each weight once, under its first name, in float32."""
    return {name: tensor.detach().float().contiguous() for name, tensor in network.named_parameters()}
