//! Pictures made from a seed: sky, sun, hills, things in front of them.
//!
//! The same seed and number give the same picture.

use image::{Rgb, RgbImage};

/// The size of a picture in pixels: a frame of a film as it is commonly uploaded.
pub const SIZE: (u32, u32) = (640, 360);

/// A small pseudo-random generator (SplitMix64), so that a picture depends only on its seed.
pub struct Dice(u64);

impl Dice {
    /// A separate sequence for each `number` of a seed.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed);
        dice.0 = dice.roll() ^ number.wrapping_mul(0xD134_2543_DE82_EF95);
        dice
    }

    /// Any 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` up to, but not including, `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.roll() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// A whole number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }
}

/// The picture of that number. `size` is its width and height in pixels.
pub fn paint(seed: u64, number: u64, size: (u32, u32)) -> RgbImage {
    let mut dice = Dice::new(seed, number);
    let mut canvas = Canvas(RgbImage::new(size.0, size.1));
    sky(&mut canvas, &mut dice);
    if dice.below(3) > 0 {
        sun(&mut canvas, &mut dice);
    }
    for layer in 0..dice.below(4) {
        hills(&mut canvas, &mut dice, 0.45 + 0.15 * layer as f32);
    }
    for _ in 0..2 + dice.below(6) {
        thing(&mut canvas, &mut dice);
    }
    grain(&mut canvas.0, &mut dice);
    canvas.0
}

/// Levels of red, green and blue, 0 to 255.
type Colour = [f32; 3];

struct Canvas(RgbImage);

impl Canvas {
    /// Paints what `brush` gives for a point: x from 0 to 16/9 (for the usual shape), y from 0 to 1 downwards.
    fn cover(&mut self, brush: impl Fn(f32, f32) -> Option<Colour>) {
        let height = self.0.height() as f32;
        for (x, y, pixel) in self.0.enumerate_pixels_mut() {
            if let Some(colour) = brush(x as f32 / height, y as f32 / height) {
                *pixel = Rgb(colour.map(|level| level as u8)); // `as` saturates: a colour can't be wrong
            }
        }
    }
}

fn colour(dice: &mut Dice) -> Colour {
    [
        dice.between(0.0, 256.0),
        dice.between(0.0, 256.0),
        dice.between(0.0, 256.0),
    ]
}

fn blend(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share.clamp(0.0, 1.0))
}

fn sky(canvas: &mut Canvas, dice: &mut Dice) {
    let (upper, lower) = (colour(dice), colour(dice));
    let slope = dice.between(-0.4, 0.4);
    canvas.cover(|x, y| Some(blend(upper, lower, y + slope * (x - 0.9))));
}

fn sun(canvas: &mut Canvas, dice: &mut Dice) {
    let (x0, y0, radius) = (dice.between(0.1, 1.6), dice.between(0.05, 0.6), dice.between(0.05, 0.2));
    let disc = blend(colour(dice), [255.0; 3], 0.5);
    canvas.cover(|x, y| ((x - x0).hypot(y - y0) < radius).then_some(disc));
}

fn hills(canvas: &mut Canvas, dice: &mut Dice, horizon: f32) {
    let (near, far) = (colour(dice), colour(dice));
    let waves: [[f32; 3]; 3] = std::array::from_fn(|octave| {
        let frequency = dice.between(1.0, 4.0) * (1 << octave) as f32;
        [
            frequency,
            dice.between(0.0, 6.3),
            dice.between(0.02, 0.12) / (1 << octave) as f32,
        ]
    });
    canvas.cover(|x, y| {
        let ridge: f32 = waves
            .iter()
            .map(|[frequency, phase, rise]| rise * (frequency * x + phase).sin())
            .sum();
        let depth = y - horizon - ridge;
        (depth > 0.0).then(|| blend(far, near, 2.0 * depth))
    });
}

/// An ellipse or a box, turned by any angle, plain, striped or chequered.
fn thing(canvas: &mut Canvas, dice: &mut Dice) {
    let (x0, y0) = (dice.between(0.0, 1.78), dice.between(0.0, 1.0));
    let (wide, high) = (dice.between(0.04, 0.35), dice.between(0.04, 0.35));
    let (sin, cos) = dice.between(0.0, 3.15).sin_cos();
    let (ground, figure) = (colour(dice), colour(dice));
    let (round, texture, pitch) = (dice.below(2) == 0, dice.below(3), dice.between(12.0, 60.0));
    canvas.cover(|x, y| {
        let (across, down) = ((x - x0) * cos + (y - y0) * sin, (y - y0) * cos - (x - x0) * sin);
        let (a, d) = (across / wide, down / high);
        let inside = if round {
            a * a + d * d < 1.0
        } else {
            a.abs().max(d.abs()) < 1.0
        };
        let odd = |length: f32| (length * pitch).floor() as i32 & 1;
        let figured = match texture {
            0 => false,
            1 => odd(across) == 1,
            _ => odd(across) ^ odd(down) == 1,
        };
        inside.then_some(if figured { figure } else { ground })
    });
}

/// A little noise, as every camera has.
fn grain(image: &mut RgbImage, dice: &mut Dice) {
    for pixel in image.pixels_mut() {
        let noise = (dice.roll() % 9) as i16 - 4;
        pixel.0 = pixel.0.map(|level| (i16::from(level) + noise).clamp(0, 255) as u8);
    }
}
