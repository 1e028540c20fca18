//! Pictures to try the search with: copies of indexed ones, changed as copies found elsewhere are.

use image::{Rgb, RgbImage, imageops};

use crate::index::{Index, THUMBNAIL, cropped_copy, decode, jpeg};

/// The most samples.
pub const SAMPLES_MAX: usize = 8;
/// JPEG quality of the samples.
const QUALITY: u8 = 75;
/// JPEG quality of those that are compressed until one sees it.
const QUALITY_BAD: u8 = 8;
/// What surrounds a sample in its thumbnail.
const GROUND: Rgb<u8> = Rgb([128; 3]);

/// What was done to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Cropped,
    Compressed,
    Letterboxed,
    Shrunk,
}

const CHANGES: [Change; 4] = [Change::Cropped, Change::Compressed, Change::Letterboxed, Change::Shrunk];

/// A changed copy of an indexed picture.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The picture's place in the index.
    pub original: usize,
    change: Change,
}

impl Sample {
    /// Up to [`SAMPLES_MAX`], spread over the index, with every kind of change.
    pub fn all(index: &Index) -> Vec<Self> {
        let pictures = index.pictures().len();
        let samples = SAMPLES_MAX.min(pictures);
        let sample = |number: usize| Self {
            original: (2 * number + 1) * pictures / (2 * samples),
            change: CHANGES[number % CHANGES.len()],
        };
        (0..samples).map(sample).collect()
    }

    /// What was done to the picture, in words.
    pub fn change(&self) -> &'static str {
        match self.change {
            Change::Cropped => "cropped",
            Change::Compressed => "compressed",
            Change::Letterboxed => "with borders",
            Change::Shrunk => "shrunk",
        }
    }

    /// The changed copy, as a JPEG file. `None` if the original's file has gone or is broken by now.
    pub fn file(&self, index: &Index) -> Option<Vec<u8>> {
        Some(self.changed(&self.original(index)?))
    }

    fn original(&self, index: &Index) -> Option<RgbImage> {
        decode(&index.pictures().get(self.original)?.bytes().ok()?).ok()
    }

    fn changed(&self, original: &RgbImage) -> Vec<u8> {
        let (width, height) = original.dimensions();
        match self.change {
            Change::Cropped => cropped_copy(original, 0.08, QUALITY),
            Change::Compressed => jpeg(original, QUALITY_BAD),
            Change::Letterboxed => jpeg(&letterboxed(original), QUALITY),
            Change::Shrunk => {
                let small = imageops::thumbnail(original, (width / 3).max(1), (height / 3).max(1));
                jpeg(&small, QUALITY)
            }
        }
    }

    /// The changed copy as it compares with the original, on grey.
    fn thumbnail(&self, index: &Index) -> Option<RgbImage> {
        let original = self.original(index)?;
        let changed = decode(&self.changed(&original)).ok()?;
        let (wide, high) = THUMBNAIL;
        let larger = |of: fn(&RgbImage) -> u32| f64::from(of(&original).max(of(&changed)));
        let scale = (f64::from(wide) / larger(RgbImage::width)).min(f64::from(high) / larger(RgbImage::height));
        // `as` saturates; at least a pixel, at most a thumbnail.
        let [width, height] = [changed.width(), changed.height()].map(|side| ((f64::from(side) * scale) as u32).max(1));
        let shown = imageops::thumbnail(&changed, width.min(wide), height.min(high));
        let (left, top) = ((wide - shown.width()) / 2, (high - shown.height()) / 2);
        let mut thumbnail = RgbImage::from_pixel(wide, high, GROUND);
        imageops::replace(&mut thumbnail, &shown, left.into(), top.into());
        Some(thumbnail)
    }
}

/// What the samples look like, below one another, as a JPEG file.
pub fn strip(samples: &[Sample], index: &Index) -> Vec<u8> {
    let rows = u32::try_from(samples.len().max(1)).expect("at most SAMPLES_MAX");
    let mut strip = RgbImage::new(THUMBNAIL.0, THUMBNAIL.1 * rows);
    for (row, sample) in (0..).zip(samples) {
        if let Some(thumbnail) = sample.thumbnail(index) {
            imageops::replace(&mut strip, &thumbnail, 0, row * i64::from(THUMBNAIL.1));
        }
    }
    jpeg(&strip, QUALITY)
}

/// The picture with black borders above and below, an eighth of its height each.
fn letterboxed(picture: &RgbImage) -> RgbImage {
    let border = picture.height() / 8;
    let mut framed = RgbImage::new(picture.width(), picture.height() + 2 * border);
    imageops::replace(&mut framed, picture, 0, i64::from(border));
    framed
}
