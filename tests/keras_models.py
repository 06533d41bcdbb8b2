"""Keras models for tests, and their twins in torch."""

import torch
from torch import nn

WIDTH = 4


def unet(width=WIDTH, seed=None):
    """(N, H, W, 3) → (N, H, W, 1), sides multiples of 4: convolutions with batch norm, dropout, skips."""
    import keras
    from keras import layers

    random = iter(range(seed, seed + 100)) if seed is not None else None

    def block(x, channels, stride=1):
        start = keras.initializers.HeNormal(seed=next(random) if random else None)
        x = layers.Conv2D(
            channels, 3, strides=stride, padding="same", use_bias=False, kernel_initializer=start
        )(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((None, None, 3))
    fine = block(image, width)
    half = block(fine, 2 * width, 2)
    x = layers.Dropout(0.1)(block(half, 4 * width, 2))
    x = block(layers.Concatenate()([layers.UpSampling2D(2)(x), half]), 2 * width)
    x = block(layers.Concatenate()([layers.UpSampling2D(2)(x), fine]), width)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


def no_model():
    return 3


def pictures(side=32):
    """A model for images of one size."""
    import keras

    image = keras.Input((side, side, 3))
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))


class Unet(nn.Module):
    """`unet`, written in torch: logits (N, 1, H, W)."""

    def __init__(self, width=WIDTH):
        super().__init__()

        def block(before, channels, stride=1):
            conv = nn.Conv2d(before, channels, 3, stride, 0 if stride == 2 else 1, bias=False)
            pad = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()  # as Keras pads even sizes
            return nn.Sequential(pad, conv, nn.BatchNorm2d(channels, eps=1e-3), nn.ReLU())

        self.blocks = nn.ModuleList(
            [
                block(3, width),
                block(width, 2 * width, 2),
                block(2 * width, 4 * width, 2),
                block(6 * width, 2 * width),
                block(3 * width, width),
            ]
        )
        self.dropout = nn.Dropout(0.1)
        self.last = nn.Conv2d(width, 1, 1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, images):
        fine = self.blocks[0](images)
        half = self.blocks[1](fine)
        x = self.dropout(self.blocks[2](half))
        x = self.blocks[3](torch.cat([self.up(x), half], 1))
        x = self.blocks[4](torch.cat([self.up(x), fine], 1))
        return self.last(x)

    def take(self, net):
        """Copy the weights of a KerasNet of `unet`."""
        kept = iter(value for _, value in sorted(net.state_dict().items()) if value.is_floating_point())
        for part in (*(block[1:3] for block in self.blocks), (self.last,)):
            for module in part:
                own = [module.weight]
                own += [module.bias] if module.bias is not None else []
                own += [module.running_mean, module.running_var] if hasattr(module, "running_mean") else []
                for tensor in own:
                    value = next(kept)
                    tensor.data = value.permute(3, 2, 0, 1).clone() if value.ndim == 4 else value.clone()
        return self
