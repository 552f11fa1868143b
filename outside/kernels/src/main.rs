//! Trains an ordinary candle-nn network by back-propagation, on the kernels under candle-nn's names.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Module, ModuleT, Optimizer, ParamsAdamW, VarBuilder, VarMap, loss};
use noprop_kernels::Padding;
// The only line that differs from a network on candle-nn's layers.
use noprop_kernels::nn::{AdamW, BatchNorm, Conv3x3, Linear, batch_norm, conv3x3, linear, max_pool2d};

struct Net {
    conv: Conv3x3,
    norm: BatchNorm,
    head: Linear,
}

impl Net {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv: conv3x3(1, 8, Padding::Same, vb.pp("conv"))?,
            norm: batch_norm(8, 1e-5, vb.pp("norm"))?,
            head: linear(8 * 4 * 4, 2, vb.pp("head"))?,
        })
    }
}

impl ModuleT for Net {
    fn forward_t(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let x = self.norm.forward_t(&self.conv.forward(images)?, train)?.relu()?;
        self.head.forward(&max_pool2d(&x, 2)?.flatten_from(1)?)
    }
}

/// Bars that lie and bars that stand, with noise.
fn bars(count: usize) -> Result<(Tensor, Tensor)> {
    let mut pixels = vec![0f32; count * 64];
    let mut labels = vec![0u32; count];
    for image in 0..count {
        let stands = image % 2;
        labels[image] = stands as u32;
        let place = image * 5 % 8;
        for along in 0..8 {
            let at = if stands == 1 { along * 8 + place } else { place * 8 + along };
            pixels[image * 64 + at] = 1.0;
        }
        for pixel in 0..64 {
            pixels[image * 64 + pixel] += ((image * 131 + pixel * 37) % 29) as f32 / 100.0;
        }
    }
    Ok((Tensor::from_vec(pixels, (count, 1, 8, 8), &Device::Cpu)?, Tensor::from_vec(labels, count, &Device::Cpu)?))
}

/// Trains and returns the share of right answers.
fn train() -> Result<f64> {
    let map = VarMap::new();
    let net = Net::new(VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    let mut optimizer = AdamW::new(map.all_vars(), ParamsAdamW { lr: 1e-2, ..ParamsAdamW::default() })?;
    let (images, labels) = bars(64)?;
    for _ in 0..30 {
        optimizer.backward_step(&loss::cross_entropy(&net.forward_t(&images, true)?, &labels)?)?;
    }
    let answers = net.forward_t(&images, false)?.argmax(1)?.to_vec1::<u32>()?;
    let right = answers.iter().zip(labels.to_vec1::<u32>()?).filter(|(a, b)| **a == *b).count();
    Ok(right as f64 / 64.0)
}

fn main() -> Result<()> {
    println!("{:.1} % right", 100.0 * train()?);
    Ok(())
}

#[test]
fn it_learns() {
    assert!(train().unwrap() > 0.95);
}
