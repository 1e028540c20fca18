//! The images that can be found, and the search among them: every image is compared, none is skipped.
//!
//! An image is known by the descriptors of a few windows, and so is a query, and the nearest pair counts. So a cropped copy
//! finds its original, and so does one that shows more than the original does, with borders around it.
//!
//! The index is a linear scan, since a search is meant to cost something.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Cursor};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use image::codecs::jpeg::JpegEncoder;
use image::error::{DecodingError, ImageFormatHint};
use image::{ImageError, ImageFormat, ImageReader, RgbImage, imageops};

use crate::descriptor::{Descriptor, ImageRegion, similarity};
use crate::progress::IndexProgress;
use crate::scenes;

/// Images that a folder may have; those beyond it, by name, are left out with a warning.
pub const IMAGES_MAX: usize = 10_000;
/// The largest file that is read, in bytes: as much as an upload may have.
pub const FILE_BYTES_MAX: u64 = 25 * 1024 * 1024;
/// Pixels that either side of an image may have.
const SIDE_MAX: u32 = 8192;
/// Bytes that decoding one image may take.
const DECODE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Before it is described, an image is shrunk until neither side has more pixels than this, so that a search of a huge
/// upload costs little more than one of a small.
const DESCRIBED_SIDE_MAX: u32 = 960;
/// JPEG quality of the pictures made here.
const MADE_QUALITY: u8 = 88;
/// The size of a thumbnail in pixels.
pub const THUMBNAIL: (u32, u32) = (256, 144);
/// JPEG quality of thumbnails.
const THUMBNAIL_QUALITY: u8 = 80;
/// The mean luma, in levels of 0 to 255, below which an edge of a query is taken for a black border.
const BORDER_LUMA_MAX: f32 = 20.0;
/// The share of a side that may be border, on each end.
const BORDER_SHARE_MAX: f32 = 0.4;

/// An image that can be found.
pub struct Picture {
    /// Its file name, unique in the index.
    pub name: String,
    /// Its media type, for those who fetch it.
    pub media_type: &'static str,
    /// A JPEG file of [`THUMBNAIL`]'s size, which shows the middle of the image.
    pub thumbnail: Vec<u8>,
    file: ImageSource,
    looks: Vec<Descriptor>,
}

enum ImageSource {
    Made(Vec<u8>),
    OnDisk(PathBuf),
}

impl Picture {
    /// The image file's bytes. Reads the disk if it is of a folder.
    ///
    /// # Errors
    /// The file is gone, or can't be read.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        match &self.file {
            ImageSource::Made(bytes) => Ok(bytes.clone()),
            ImageSource::OnDisk(path) => read_bounded(path),
        }
    }
}

/// An image and how well it matches.
pub struct Match {
    /// Its place in [`Index::pictures`].
    pub place: usize,
    /// 1 for the same image, towards 0 for one that has nothing in common.
    pub similarity: f32,
}

/// A file of the folder that isn't in the index, and why.
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: String,
}

/// All images that can be found.
pub struct Index {
    pictures: Vec<Picture>,
    places: HashMap<String, usize>,
}

impl Index {
    /// Makes `count` pictures of `size` from the seed, and indexes them.
    pub fn made(seed: u64, count: usize, size: (u32, u32), progress: &IndexProgress) -> Self {
        Self::new(in_parallel(count.min(IMAGES_MAX), progress, |number| {
            let image = scenes::paint(seed, number as u64, size);
            Picture {
                name: format!("scene-{number:04}.jpg"),
                media_type: "image/jpeg",
                thumbnail: thumbnail(&image),
                looks: looks(&image),
                file: ImageSource::Made(jpeg(&image, MADE_QUALITY)),
            }
        }))
    }

    /// Indexes the images of a folder, by name, without its subfolders. What is no image is skipped and reported.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn of_folder(folder: &Path, progress: &IndexProgress) -> io::Result<(Self, Vec<Skipped>)> {
        let mut paths = fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.is_file());
        paths.sort();
        let beyond = paths.split_off(paths.len().min(IMAGES_MAX));

        let read = in_parallel(paths.len(), progress, |number| picture_of(&paths[number]));
        let (mut pictures, mut skipped) = (Vec::new(), Vec::new());
        for (path, picture) in paths.into_iter().zip(read) {
            match picture {
                Ok(picture) => pictures.push(picture),
                Err(reason) => skipped.push(Skipped { path, reason }),
            }
        }
        let too_many = || format!("the folder has more than {IMAGES_MAX} files");
        skipped.extend(beyond.into_iter().map(|path| Skipped {
            path,
            reason: too_many(),
        }));
        Ok((Self::new(pictures), skipped))
    }

    fn new(pictures: Vec<Picture>) -> Self {
        let places = pictures
            .iter()
            .enumerate()
            .map(|(place, picture)| (picture.name.clone(), place))
            .collect();
        Self { pictures, places }
    }

    /// The images, in the order of their names.
    pub fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    /// The image of that name.
    pub fn named(&self, name: &str) -> Option<&Picture> {
        self.places.get(name).map(|&place| &self.pictures[place])
    }

    /// The `count` best matches, the best one first. With `cut_borders`, black borders of the query are left out.
    pub fn search(&self, query: &RgbImage, cut_borders: bool, count: usize) -> Vec<Match> {
        let shown = if cut_borders {
            inside_borders(query)
        } else {
            ImageRegion::WHOLE
        };
        let asked: Vec<_> = query_windows()
            .map(|window| Descriptor::of(query, window.within(shown)))
            .collect();
        let distance = |picture: &Picture| {
            let pairs = picture
                .looks
                .iter()
                .flat_map(|look| asked.iter().map(|asked| asked.distance(look)));
            pairs.fold(f32::INFINITY, f32::min)
        };
        let mut ranked: Vec<_> = self
            .pictures
            .iter()
            .enumerate()
            .map(|(place, picture)| (distance(picture), place))
            .collect();
        ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let matched = |(distance, place)| Match {
            place,
            similarity: similarity(distance),
        };
        ranked.into_iter().take(count).map(matched).collect()
    }
}

/// Decodes a JPEG or PNG within bounds of size and memory, and shrinks it to what a search looks at.
///
/// # Errors
/// The bytes are no such image, are broken, or are beyond a bound.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits);
    let image = reader.decode()?;
    if image.width() == 0 || image.height() == 0 {
        return Err(ImageError::Decoding(DecodingError::new(
            ImageFormatHint::Unknown,
            "it has no pixels",
        )));
    }
    let side = image.width().max(image.height());
    let image = if side > DESCRIBED_SIDE_MAX {
        image.thumbnail(DESCRIBED_SIDE_MAX, DESCRIBED_SIDE_MAX)
    } else {
        image
    };
    Ok(image.into_rgb8())
}

/// The image as a JPEG file of that quality, 1 to 100.
pub fn jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut file = Vec::new();
    image
        .write_with_encoder(JpegEncoder::new_with_quality(&mut file, quality))
        .expect("writing to memory doesn't fail, and no image here is wider than JPEG's 65,535 pixels");
    file
}

/// What a user might upload who found an image elsewhere: `cut` of its width and height cropped away at the left and
/// upper edges (0 to 0.5), and compressed again.
pub fn cropped_copy(image: &RgbImage, cut: f32, quality: u8) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let (left, top) = ((width as f32 * cut) as u32, (height as f32 * cut) as u32);
    jpeg(
        &imageops::crop_imm(image, left, top, width - left, height - top).to_image(),
        quality,
    )
}

/// The thumbnails of those pictures, below one another, as a JPEG file. What isn't in the index is left out.
pub fn strip(index: &Index, places: &[usize]) -> Vec<u8> {
    let pictures = places.iter().filter_map(|&place| index.pictures().get(place));
    let thumbnails: Vec<_> = pictures.filter_map(|picture| decode(&picture.thumbnail).ok()).collect();
    let (width, height) = THUMBNAIL;
    let rows = u32::try_from(thumbnails.len().max(1)).expect("a strip is of few pictures");
    let mut strip = RgbImage::new(width, height * rows);
    for (row, thumbnail) in (0..).zip(&thumbnails) {
        imageops::replace(&mut strip, thumbnail, 0, row * i64::from(height));
    }
    jpeg(&strip, THUMBNAIL_QUALITY)
}

/// The middle of the image, as large as fits into a thumbnail's shape.
fn thumbnail(image: &RgbImage) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let (wide, high) = THUMBNAIL;
    let (shown_width, shown_height) = if width * high > height * wide {
        ((height * wide / high).max(1), height)
    } else {
        (width, (width * high / wide).max(1))
    };
    let (left, top) = ((width - shown_width) / 2, (height - shown_height) / 2);
    let middle = imageops::crop_imm(image, left, top, shown_width, shown_height);
    jpeg(&imageops::thumbnail(&*middle, wide, high), THUMBNAIL_QUALITY)
}

fn picture_of(path: &Path) -> Result<Picture, String> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("its name isn't UTF-8")?;
    let bytes = read_bounded(path).map_err(|error| error.to_string())?;
    let media_type = match image::guess_format(&bytes) {
        Ok(ImageFormat::Png) => "image/png",
        Ok(ImageFormat::Jpeg) => "image/jpeg",
        _ => return Err("neither JPEG nor PNG".to_owned()),
    };
    let image = decode(&bytes).map_err(|error| error.to_string())?;
    Ok(Picture {
        name: name.to_owned(),
        media_type,
        thumbnail: thumbnail(&image),
        file: ImageSource::OnDisk(path.to_owned()),
        looks: looks(&image),
    })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {FILE_BYTES_MAX} bytes"),
        ));
    }
    fs::read(path)
}

fn looks(image: &RgbImage) -> Vec<Descriptor> {
    indexed_windows().map(|window| Descriptor::of(image, window)).collect()
}

/// What of an indexed image is described: all, and what is left when an edge or two are cropped.
fn indexed_windows() -> impl Iterator<Item = ImageRegion> {
    std::iter::once(ImageRegion::WHOLE).chain(windows_of(0.94, 3))
}

/// What of a query is described: all, and ever smaller parts, in case the original is surrounded by something.
fn query_windows() -> impl Iterator<Item = ImageRegion> {
    let scales = (1..=8).map(|step| 1.0 - 0.025 * step as f32);
    std::iter::once(ImageRegion::WHOLE).chain(scales.flat_map(|scale| windows_of(scale, 5)))
}

/// Windows of a scale, at `places` × `places` places; at least 2, so that the corners are among them.
fn windows_of(scale: f32, places: usize) -> impl Iterator<Item = ImageRegion> {
    let share = move |place: usize| place as f32 / (places - 1) as f32;
    (0..places * places).map(move |place| ImageRegion::scaled(scale, share(place % places), share(place / places)))
}

/// The query without its black borders, as far as [`BORDER_SHARE_MAX`] allows.
fn inside_borders(query: &RgbImage) -> ImageRegion {
    let (width, height) = query.dimensions();
    let dark = |left, top, width, height| {
        let strip = imageops::crop_imm(query, left, top, width, height);
        let sum: f32 = imageops::grayscale(&*strip)
            .pixels()
            .map(|pixel| f32::from(pixel[0]))
            .sum();
        sum < BORDER_LUMA_MAX * (width * height) as f32
    };
    let border = |side: u32, dark_at: &dyn Fn(u32) -> bool| {
        let most = (side as f32 * BORDER_SHARE_MAX) as u32;
        (0..most).take_while(|&line| dark_at(line)).count() as f32 / side as f32
    };
    let top = border(height, &|line| dark(0, line, width, 1));
    let bottom = border(height, &|line| dark(0, height - 1 - line, width, 1));
    let left = border(width, &|line| dark(line, 0, 1, height));
    let right = border(width, &|line| dark(width - 1 - line, 0, 1, height));
    ImageRegion {
        left,
        top,
        width: 1.0 - left - right,
        height: 1.0 - top - bottom,
    }
}

/// `task` of every number below `count`, on all cores, in order.
fn in_parallel<T: Send>(count: usize, progress: &IndexProgress, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    progress.expect(count);
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers =
            std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&number| number < count));
        let done = |number| (number, task(number));
        numbers.map(done).inspect(|_| progress.one_done()).collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    done.sort_by_key(|&(number, _)| number);
    done.into_iter().map(|(_, result)| result).collect()
}
