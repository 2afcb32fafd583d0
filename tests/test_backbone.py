"""Full-size backbones: the split at stride 16, the dilated conv5, published weights."""

import pytest
import torch
import torch.nn.functional as F
from shared_data import SHARED
from torch import nn
from torchvision.models import resnet18, resnet50

from mstlib.config import ModelConfig, MSTError
from mstlib.model.backbone import build_backbone
from mstlib.model.backbone_weights import load_backbone_weights, read_weights, timm_weights
from mstlib.model.resnet import RESNETS

LITE = SHARED / "weights" / "efficientnet-lite0-57934424.pth"
FRAMES = {  # a DAVIS sequence -> ImageNet classes that its first frame shows
    "elephant": {101, 385, 386}, "flamingo": {130}, "bear": {294}, "cows": {345},
    "blackswan": {100},
}


def built(name, **more):
    """A backbone with random weights, ready to run."""
    torch.manual_seed(0)
    return build_backbone(ModelConfig(backbone=name, **more)).eval()


def spatial(stage):
    """The convolutions of a stage that look further than one cell."""
    return [m for m in stage.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]


def loaded(path, name="resnet18"):
    """A backbone that has read the weights in `path`, and what the loading said."""
    config = ModelConfig(backbone=name, backbone_weights=str(path))
    backbone = build_backbone(config)
    return backbone.eval(), load_backbone_weights(backbone, config)


# ---- the split ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "c4", "c5", "blocks"), [
    ("resnet18", 256, 512, 4), ("resnet34", 256, 512, 6), ("resnet50", 1024, 2048, 3),
    ("resnext101_32x4d", 1024, 2048, 3)])
@torch.no_grad()
def test_a_resnet_keeps_stride_16_and_dilates_all_of_conv5(name, c4, c5, blocks):
    backbone = built(name)
    assert (backbone.stride, backbone.channels, backbone.c5_channels) == (16, c4, c5)
    maps = backbone.c4(torch.rand(1, 3, 96, 160))
    assert maps.shape == (1, c4, 6, 10) and backbone.c5(maps).shape == (1, c5, 6, 10)
    assert len(spatial(backbone.conv5)) == blocks
    assert all(m.dilation == (2, 2) and m.stride == (1, 1) for m in spatial(backbone.conv5))
    assert all(m.dilation == (1, 1) for s in backbone.c4_modules() for m in spatial(s))
    assert backbone.c4_modules() == [backbone.stem, backbone.conv2, backbone.conv3, backbone.conv4]


@pytest.mark.parametrize(("name", "whole", "first"), [
    ("resnet18", resnet18, "conv1"), ("resnet50", resnet50, "conv2")])
@torch.no_grad()
def test_conv4_is_torchvisions_and_conv5_its_network_at_every_second_cell(name, whole, first):
    """The atrous identity: with the first block's 3x3 undilated, the dilated stage at even cells is
    the strided one."""
    torch.manual_seed(0)
    net, backbone = whole().eval(), built(name)
    backbone.load_state_dict({k: net.state_dict()[v] for k, v in backbone.source.items()})
    x = torch.rand(1, 3, 128, 96)
    stem = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    maps = net.layer3(net.layer2(net.layer1(stem)))
    torch.testing.assert_close(backbone.c4(x), maps)
    all_dilated = backbone.c5(maps)
    conv = getattr(backbone.conv5[0], first)
    conv.dilation = conv.padding = (1, 1)
    torch.testing.assert_close(backbone.c5(maps)[..., ::2, ::2], net.layer4(maps), rtol=1e-3,
                               atol=1e-3)
    assert not torch.allclose(all_dilated[..., ::2, ::2], net.layer4(maps), rtol=0.1, atol=0.1)


@torch.no_grad()
def test_the_stride_can_sit_in_the_first_1x1():
    caffe, usual = built("resnet50", caffe_layout=True), built("resnet50")
    for stage, inner in ((caffe.conv3, (1, 1)), (usual.conv3, (2, 2))):
        assert stage[0].conv2.stride == inner and stage[0].downsample[0].stride == (2, 2)
    assert caffe.conv3[0].conv1.stride == caffe.conv4[0].conv1.stride == (2, 2)
    x = torch.rand(1, 3, 64, 64)
    assert caffe.c4(x).shape == usual.c4(x).shape and not torch.allclose(caffe.c4(x), usual.c4(x))
    with pytest.raises(MSTError, match="resnet50"):
        built("resnet18", caffe_layout=True)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "resnet26d"])
@torch.no_grad()
def test_a_timm_network_is_split_where_its_own_map_of_stride_16_is(name):
    timm = pytest.importorskip("timm")
    backbone = built(f"timm:{name}")
    net = timm.create_model(name, features_only=True).eval()
    flat = {k.split(".", 1)[1].replace(".", "_"): v for k, v in backbone.state_dict().items()}
    net.load_state_dict({k: flat[k.replace(".", "_")] for k in net.state_dict()})
    x = torch.rand(1, 3, 96, 160)
    conv4 = net(x)[net.feature_info.reduction().index(16)]
    assert torch.equal(backbone.c4(x), conv4) and conv4.shape[1] == backbone.channels
    assert backbone.c5(conv4).shape == (1, backbone.c5_channels, 6, 10)
    assert spatial(backbone.conv5)
    assert all(m.dilation == (2, 2) and m.stride == (1, 1) for m in spatial(backbone.conv5))
    assert sum(p.numel() for p in backbone.parameters()) == sum(
        p.numel() for p in net.parameters())


@pytest.mark.parametrize(("name", "reason"), [
    ("resnet9000", "unknown backbone 'resnet9000'; choose mini, minix, resnet18"),
    ("timm:vit_tiny_patch16_224", "cannot be kept at stride 16"),
    ("timm:resnet18.nowhere_in1k", "Invalid pretrained tag"),
    ("timm:xception41", "no stage of stride 16"),
    ("timm:resnet9000", "timm has no network 'resnet9000'")])
def test_what_cannot_be_a_backbone_is_refused_in_one_line(name, reason):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    with pytest.raises(MSTError, match=reason) as error:
        built(name)
    assert "\n" not in str(error.value)


# ---- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "wrapped", "no counters", "safetensors"])
def test_a_file_with_torchvisions_names_is_read(tmp_path, form):
    torch.manual_seed(1)
    whole = resnet18().state_dict()
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(whole, path)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in whole.items()}}, path)
    else:
        kept = {k: v for k, v in whole.items() if form == "plain" or "num_batches" not in k}
        torch.save(kept, path)
    backbone, lines = loaded(path)
    state = backbone.state_dict()
    assert torch.equal(state["conv4.0.downsample.0.weight"], whole["layer3.0.downsample.0.weight"])
    assert torch.equal(state["stem.0.weight"], whole["conv1.weight"])
    assert torch.equal(state["conv5.1.bn2.bias"], whole["layer4.1.bn2.bias"])
    assert lines == [f"backbone resnet18: 100 tensors from {path} by name, left out: "
                     "fc.bias, fc.weight"]


@pytest.mark.parametrize(("change", "says"), [
    (lambda d: d.pop("layer2.0.conv1.weight"), "lacks 'layer2.0.conv1.weight' .1 missing"),
    (lambda d: d.update({"neck.weight": torch.zeros(2)}), "unknown tensor 'neck.weight'"),
    (lambda d: d.update({"bn1.bias": torch.zeros(3)}), r"'bn1.bias' is \(3,\).*needs \(64,\)"),
    (lambda d: d.update({"epoch": 3}), "holds no state dict")])
def test_weights_that_do_not_fit_are_named(tmp_path, change, says):
    whole = dict(resnet18().state_dict())
    change(whole)
    torch.save(whole, tmp_path / "net.pth")
    with pytest.raises(MSTError, match=says):
        loaded(tmp_path / "net.pth")


def renamed(tensors):
    """The same tensors in the same order under names that nobody knows."""
    return {f"part{i}.{k.rsplit('.', 1)[-1]}": v for i, (k, v) in enumerate(tensors.items())}


def test_weights_under_other_names_are_matched_by_order_and_shape(tmp_path):
    torch.manual_seed(2)
    whole = resnet18().state_dict()
    torch.save(renamed(whole), tmp_path / "net.pth")
    backbone, lines = loaded(tmp_path / "net.pth")
    for key, name in backbone.source.items():
        assert torch.equal(backbone.state_dict()[key], whole[name])
    assert "100 tensors" in lines[0] and "by order" in lines[0]


@pytest.mark.parametrize("damage", ["swapped", "short", "transposed"])
def test_the_order_must_agree_to_the_last_name_and_shape(tmp_path, damage):
    items = list(resnet18().state_dict().items())
    if damage == "swapped":  # bias before weight: the same shapes in the same order
        items[1], items[2] = items[2], items[1]
    elif damage == "short":
        items = items[:-1]
    else:
        items[-2] = (items[-2][0], items[-2][1].T)
    torch.save(renamed(dict(items)), tmp_path / "net.pth")
    with pytest.raises(MSTError, match="neither the names .first 'part0.weight'. nor the order"):
        loaded(tmp_path / "net.pth")


def test_without_a_network_connection_the_way_out_is_a_file(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Name or service not known\nand a long tale")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(MSTError, match="not known; download them elsewhere .https://.*resnet18"):
        loaded("torchvision")
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(MSTError, match="fetched from timm: Name or service.*to the file"):
        loaded("timm")


def test_the_papers_networks_take_weights_that_saw_imagenet_alone(monkeypatch):
    """timm's own choice for ResNeXt-101-32x4d learnt from 90 million further images."""
    timm = pytest.importorskip("timm")
    asked = []

    def published(name, pretrained):
        asked.append((name, pretrained))
        return resnet18()

    monkeypatch.setattr(timm, "create_model", published)
    for name in RESNETS:
        timm_weights(name)
    timm_weights("timm:resnet18.fb_ssl_yfcc100m_ft_in1k")
    assert all(pretrained for _, pretrained in asked)
    assert [name for name, _ in asked] == [
        "resnet18.tv_in1k", "resnet34.tv_in1k", "resnet50.tv_in1k", "resnet101.tv_in1k",
        "resnext101_32x4d.gluon_in1k", "resnet18.fb_ssl_yfcc100m_ft_in1k"]
    assert all(name in timm.list_pretrained() for name, _ in asked)


def test_weights_that_nobody_publishes_and_files_that_are_none(tmp_path):
    with pytest.raises(MSTError, match="torchvision has no weights of 'resnext101_32x4d'"):
        loaded("torchvision", "resnext101_32x4d")
    with pytest.raises(MSTError, match="no weights are published for the backbone 'mini'"):
        loaded("torchvision", "mini")
    with pytest.raises(MSTError, match="no such file of weights"):
        loaded(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(MSTError, match="not readable as weights"):
        loaded(tmp_path / "text.pth")
    assert load_backbone_weights(built("mini"), ModelConfig()) == []


@pytest.mark.skipif(not (LITE.exists() and (SHARED / "DAVIS").exists()),
                    reason="needs the EfficientNet-Lite0 weights and DAVIS in shared/data")
@torch.no_grad()
def test_efficientnet_lite0_from_a_file_recognises_what_davis_shows():
    """The weights' own classifier on the dilated conv5 maps: a tensor in the wrong place would
    show."""
    pytest.importorskip("timm")
    from PIL import Image
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    backbone, lines = loaded(LITE, "timm:tf_efficientnet_lite0")
    assert "240 tensors" in lines[0] and "_fc.weight" in lines[0]
    assert "model.pixel_mean=(0.5, 0.5, 0.5)" in lines[1]
    w = read_weights(LITE)
    for name, classes in FRAMES.items():
        file = sorted((SHARED / "DAVIS" / "JPEGImages" / "480p" / name).glob("*.jpg"))[0]
        x = center_crop(resize(pil_to_tensor(Image.open(file)), [256]), [224]).float() / 255
        x = F.conv2d(backbone.c5(backbone.c4((x[None] - 0.5) / 0.5)), w["_conv_head.weight"])
        x = F.batch_norm(x, w["_bn1.running_mean"], w["_bn1.running_var"], w["_bn1.weight"],
                         w["_bn1.bias"], eps=1e-3)
        logits = F.linear(F.relu6(x).mean((2, 3)), w["_fc.weight"], w["_fc.bias"])
        assert int(logits.argmax()) in classes, name
