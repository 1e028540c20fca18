//! What an image looks like, in 41 numbers: a colour layout after the manner of MPEG-7.
//!
//! The mean colours of 8×8 blocks, in YCbCr, go through a cosine transform, and the low frequencies are kept. What
//! recompression, scaling and a cropped edge change is mostly in the high ones. Two images are as far apart as their
//! numbers are. Files, formats and threads are in `index`.

use std::f32::consts::PI;

use image::RgbImage;

/// Blocks along each side of an image.
const GRID: usize = 8;
/// Luma coefficients with `u + v` up to this are kept: 21 of them.
const LUMA_FREQUENCY_MAX: usize = 5;
/// Chroma coefficients with `u + v` up to this are kept: 10 of each plane. The eye, and JPEG, see colour coarsely.
const CHROMA_FREQUENCY_MAX: usize = 3;
/// Numbers of a descriptor.
const LENGTH: usize = 21 + 10 + 10;
/// Weight of a difference in mean brightness: screens and encoders differ there first.
const BRIGHTNESS_WEIGHT: f32 = 0.5;
/// The distance, in levels of 0 to 255 by root mean square, at which the similarity has fallen to 1/e.
const SIMILARITY_FALLOFF: f32 = 40.0;

/// A part of an image, in fractions of its width and height: 0 to 1, `left + width` and `top + height` at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageRegion {
    /// The left edge.
    pub left: f32,
    /// The upper edge.
    pub top: f32,
    /// From the left to the right edge, above 0.
    pub width: f32,
    /// From the upper to the lower edge, above 0.
    pub height: f32,
}

impl ImageRegion {
    /// All of the image.
    pub const WHOLE: Self = Self {
        left: 0.0,
        top: 0.0,
        width: 1.0,
        height: 1.0,
    };

    /// A window of `scale` times the image's sides. `across` and `down` say where: 0 left or top, 1 right or bottom.
    pub fn scaled(scale: f32, across: f32, down: f32) -> Self {
        Self {
            left: (1.0 - scale) * across,
            top: (1.0 - scale) * down,
            width: scale,
            height: scale,
        }
    }

    /// This window, if `outer` were all of the image.
    pub fn within(self, outer: Self) -> Self {
        Self {
            left: outer.left + self.left * outer.width,
            top: outer.top + self.top * outer.height,
            width: self.width * outer.width,
            height: self.height * outer.height,
        }
    }
}

/// How a part of an image looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor([f32; LENGTH]);

impl Descriptor {
    /// Describes the part of the image in the window. An image smaller than 8×8 pixels is described too, coarsely.
    ///
    /// # Panics
    /// If the image has no pixels.
    pub fn of(image: &RgbImage, window: ImageRegion) -> Self {
        let planes = block_means(image, window);
        let mut numbers = [0.0; LENGTH];
        let mut kept = numbers.iter_mut();
        for (plane, frequency_max) in
            planes
                .iter()
                .zip([LUMA_FREQUENCY_MAX, CHROMA_FREQUENCY_MAX, CHROMA_FREQUENCY_MAX])
        {
            for (number, coefficient) in kept.by_ref().zip(low_frequencies(plane, frequency_max)) {
                *number = coefficient;
            }
        }
        numbers[0] *= BRIGHTNESS_WEIGHT;
        Self(numbers)
    }

    /// How far apart two descriptors are: 0 if alike, at most about 300. The unit is a level of 0 to 255 by root mean
    /// square over the blocks, since the transform keeps lengths.
    pub fn distance(&self, other: &Self) -> f32 {
        let squares: f32 = self.0.iter().zip(&other.0).map(|(a, b)| (a - b) * (a - b)).sum();
        squares.sqrt() / GRID as f32
    }
}

/// A distance as people read it: 1 for the same image, towards 0 for one that has nothing in common.
pub fn similarity(distance: f32) -> f32 {
    (-distance / SIMILARITY_FALLOFF).exp()
}

type Plane = [[f32; GRID]; GRID];

/// Luma and both chroma planes of the block means, in levels of 0 to 255.
fn block_means(image: &RgbImage, window: ImageRegion) -> [Plane; 3] {
    let columns = edges(window.left, window.width, image.width());
    let rows = edges(window.top, window.height, image.height());
    let stride = image.width() as usize * 3;
    let mut planes = [[[0.0; GRID]; GRID]; 3];
    for (v, &(top, bottom)) in rows.iter().enumerate() {
        let mut sums = [[0_u64; 3]; GRID];
        for row in image.as_raw().chunks_exact(stride).take(bottom).skip(top) {
            for (sum, &(left, right)) in sums.iter_mut().zip(&columns) {
                add_pixels(sum, &row[left * 3..right * 3]);
            }
        }
        for (u, (sum, &(left, right))) in sums.iter().zip(&columns).enumerate() {
            let pixels = ((right - left) * (bottom - top)) as f32;
            let [r, g, b] = sum.map(|channel| channel as f32 / pixels);
            // The conversion is linear, so that it may come after the mean.
            planes[0][v][u] = 0.299 * r + 0.587 * g + 0.114 * b;
            planes[1][v][u] = -0.169 * r - 0.331 * g + 0.5 * b;
            planes[2][v][u] = 0.5 * r - 0.419 * g - 0.081 * b;
        }
    }
    planes
}

fn add_pixels(sum: &mut [u64; 3], pixels: &[u8]) {
    let mut part = [0_u32; 3];
    for pixel in pixels.chunks_exact(3) {
        for (channel, &level) in part.iter_mut().zip(pixel) {
            *channel += u32::from(level);
        }
    }
    for (channel, part) in sum.iter_mut().zip(part) {
        *channel += u64::from(part);
    }
}

/// Where each of the blocks along a side begins and ends, in pixels. None is empty, though tiny images' ones overlap.
fn edges(start: f32, length: f32, pixels: u32) -> [(usize, usize); GRID] {
    assert!(pixels > 0, "an image has pixels");
    let last = pixels as usize - 1;
    let edge = |block: usize| ((start + length * block as f32 / GRID as f32) * pixels as f32).round() as usize;
    std::array::from_fn(|block| {
        let begin = edge(block).min(last);
        (begin, edge(block + 1).clamp(begin + 1, last + 1))
    })
}

/// The orthonormal cosine transform of a plane, as far as `u + v` doesn't exceed `frequency_max`.
fn low_frequencies(plane: &Plane, frequency_max: usize) -> impl Iterator<Item = f32> {
    let wave = |frequency: usize, place: usize| {
        let norm = if frequency == 0 { 1.0 } else { 2.0_f32.sqrt() } / (GRID as f32).sqrt();
        norm * (PI * frequency as f32 * (place as f32 + 0.5) / GRID as f32).cos()
    };
    let waves: Plane = std::array::from_fn(|frequency| std::array::from_fn(|place| wave(frequency, place)));
    let dot = |a: &[f32; GRID], b: &[f32; GRID]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    // across[u][row]: how much of the wave `u` each row of blocks has.
    let across: Plane = std::array::from_fn(|u| std::array::from_fn(|row| dot(&waves[u], &plane[row])));
    (0..=frequency_max).flat_map(move |v| (0..=frequency_max - v).map(move |u| dot(&waves[v], &across[u])))
}
