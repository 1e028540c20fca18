//! The demo's image search finds the original of a cropped and recompressed copy: by itself, and through the proxy.

mod support;

use std::net::Ipv4Addr;
use std::{fs, thread};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use image::{Rgb, RgbImage, imageops};
use std::sync::Arc;
use tiergate_demo::descriptor::{Descriptor, ImageRegion, similarity};
use tiergate_demo::index::{Index, cropped_copy, decode};
use tiergate_demo::page::{Callers, Page};
use tiergate_demo::progress::IndexProgress;
use tiergate_demo::samples::Sample;
use tiergate_demo::search_server;
use tokio::net::TcpListener;

use crate::support::{COUNT, Folder, INDEX, PACE, SIZE, behind_the_proxy, get, json, post, send};

fn original(place: usize) -> RgbImage {
    decode(&INDEX.pictures()[place].bytes().unwrap()).unwrap()
}

/// The copy that the issue speaks of: 4 % cropped away, and compressed again at quality 60.
fn copy(place: usize) -> Vec<u8> {
    cropped_copy(&original(place), 0.04, 60)
}

#[test]
fn descriptors_tell_pictures_apart() {
    let [a, b] = [original(0), original(1)].map(|image| Descriptor::of(&image, ImageRegion::WHOLE));
    assert_eq!(a.distance(&a), 0.0);
    assert_eq!(a.distance(&b), b.distance(&a));
    assert_eq!(similarity(0.0), 1.0);
    assert!(similarity(a.distance(&b)) < 0.8, "{}", similarity(a.distance(&b)));
}

#[test]
fn a_distance_is_a_difference_in_levels() {
    let grey = |level| RgbImage::from_pixel(32, 32, Rgb([level; 3]));
    let [a, b] = [grey(100), grey(120)].map(|image| Descriptor::of(&image, ImageRegion::WHOLE));
    // Twenty levels of brightness alone, which counts half.
    assert!((a.distance(&b) - 10.0).abs() < 0.1, "{}", a.distance(&b));
}

#[test]
fn images_smaller_than_the_grid_are_described() {
    for (width, height) in [(1, 1), (1, 9), (7, 3), (8, 8)] {
        let image = RgbImage::from_pixel(width, height, Rgb([10, 200, 30]));
        let wide = RgbImage::from_pixel(64, 64, Rgb([10, 200, 30]));
        let distance = Descriptor::of(&image, ImageRegion::WHOLE).distance(&Descriptor::of(&wide, ImageRegion::WHOLE));
        assert!(distance < 0.01, "{width}×{height}: {distance}");
        assert_eq!(INDEX.search(&image, true, 10).len(), 10);
    }
}

#[test]
fn every_cropped_and_recompressed_copy_finds_its_original() {
    let wrong = |place: &usize| {
        let found = INDEX.search(&decode(&copy(*place)).unwrap(), false, 2);
        found[0].place != *place || found[0].similarity < 0.9 || found[1].similarity > 0.8
    };
    // Half of them on another thread, since a search costs something.
    let wrong_ones = thread::scope(|scope| {
        let odd = scope.spawn(move || {
            (0..COUNT)
                .filter(|place| place % 2 == 1)
                .filter(wrong)
                .collect::<Vec<_>>()
        });
        let mut all: Vec<_> = (0..COUNT).filter(|place| place % 2 == 0).filter(wrong).collect();
        all.extend(odd.join().unwrap());
        all
    });
    assert_eq!(wrong_ones, Vec::<usize>::new());
}

#[test]
fn black_borders_are_cut_on_request() {
    let mut framed = RgbImage::new(SIZE.0, SIZE.1 * 2);
    imageops::overlay(&mut framed, &original(3), 0, i64::from(SIZE.1 / 2));
    let [plain, cut] = [false, true].map(|cut_borders| INDEX.search(&framed, cut_borders, 1).remove(0));
    assert_eq!(cut.place, 3);
    assert!(cut.similarity > 0.9, "{}", cut.similarity);
    assert!(plain.similarity < cut.similarity);
}

#[test]
fn every_sample_finds_its_original() {
    let samples = Sample::all(&INDEX);
    assert_eq!(samples.len(), 8);
    let changes: std::collections::BTreeSet<_> = samples.iter().map(Sample::change).collect();
    assert_eq!(changes.len(), 4);
    for sample in samples {
        let found = INDEX.search(&decode(&sample.file(&INDEX).unwrap()).unwrap(), true, 2);
        assert_eq!(found[0].place, sample.original, "{}", sample.change());
        // What the page takes for found.
        assert!(
            found[0].similarity > 0.88,
            "{}: {}",
            sample.change(),
            found[0].similarity
        );
    }
}

#[test]
fn few_pictures_have_few_samples() {
    for count in [0, 1, 3] {
        let index = Index::made(7, count, SIZE, &IndexProgress::hidden());
        let originals: Vec<_> = Sample::all(&index).iter().map(|sample| sample.original).collect();
        assert_eq!(originals, (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn indexing_reports_its_progress() {
    let progress = IndexProgress::hidden();
    let index = Index::made(7, 3, SIZE, &progress);
    assert_eq!((index.pictures().len(), progress.done()), (3, 3));
}

#[test]
fn an_image_that_needs_too_much_memory_is_an_error() {
    let mut png = Vec::new();
    let wide = RgbImage::new(9000, 1);
    wide.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    assert!(decode(&png).is_err());
    assert!(decode(b"no image").is_err());
    assert!(decode(b"").is_err());
}

#[test]
fn a_folder_is_indexed_without_files_that_are_not_images() {
    let folder = Folder::new("indexed");
    fs::write(folder.0.join("b ä.jpg"), copy(5)).unwrap();
    original(6).save(folder.0.join("a.png")).unwrap();
    fs::write(folder.0.join("notes.txt"), "no image").unwrap();
    fs::write(folder.0.join("torn.jpg"), &copy(5)[..300]).unwrap();
    fs::create_dir(folder.0.join("more")).unwrap();

    let (index, skipped) = Index::of_folder(&folder.0, &IndexProgress::hidden()).unwrap();
    let names: Vec<_> = index
        .pictures()
        .iter()
        .map(|picture| (picture.name.as_str(), picture.media_type))
        .collect();
    assert_eq!(names, [("a.png", "image/png"), ("b ä.jpg", "image/jpeg")]);
    let skipped: Vec<_> = skipped
        .iter()
        .map(|file| file.path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(skipped, ["notes.txt", "torn.jpg"]);
    assert_eq!(index.search(&original(5), false, 1)[0].place, 1);
    assert_eq!(index.named("b ä.jpg").unwrap().bytes().unwrap(), copy(5));
    assert!(index.named("../notes.txt").is_none());
}

#[tokio::test]
async fn a_copy_finds_its_original_through_the_proxy() {
    let image = behind_the_proxy(&INDEX, async |proxy| {
        let raw = send(proxy, post("/search", "application/octet-stream", copy(17))).await;
        let in_form = send(proxy, post("/search?cutBorders", FORM, form("image", &copy(42)))).await;
        let as_file = send(proxy, post("/search", FORM, form("file", &copy(8)))).await;
        let first = |answer: &Response<Bytes>| json(answer)["result"][0].clone();

        for (answer, place) in [(&raw, 17), (&in_form, 42), (&as_file, 8)] {
            assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
            let (answer, first) = (json(answer), first(answer));
            assert_eq!(answer["frameCount"], COUNT);
            assert_eq!(answer["error"], "");
            assert_eq!(answer["result"].as_array().unwrap().len(), 10);
            assert_eq!(first["filename"], *INDEX.pictures()[place].name);
            assert!(first["similarity"].as_f64().unwrap() > 0.9);
            assert!(first["from"].as_f64().unwrap() < first["to"].as_f64().unwrap());
            assert!(first["video"].is_string());
        }

        let url = first(&raw)["image"].as_str().unwrap().to_owned();
        let path = url
            .strip_prefix(&format!("http://{proxy}"))
            .expect("the address that the client knows")
            .to_owned();
        send(proxy, get(&path)).await
    })
    .await;
    assert_eq!(image.status(), StatusCode::OK);
    assert_eq!(image.headers()[header::CONTENT_TYPE], "image/jpeg");
    assert_eq!(image.body(), &INDEX.pictures()[17].bytes().unwrap());
}

#[tokio::test]
async fn invalid_images_get_the_services_400_through_the_proxy() {
    let answers = behind_the_proxy(&INDEX, async |proxy| {
        let torn = copy(0)[..300].to_vec();
        let bodies = [b"no image".to_vec(), torn, Vec::new()];
        let mut answers = Vec::new();
        for body in bodies {
            answers.push(send(proxy, post("/search", "image/jpeg", body)).await);
        }
        answers.push(send(proxy, post("/search", FORM, form("title", &copy(0)))).await);
        answers.push(send(proxy, post("/search", FORM, b"no form".to_vec())).await);
        answers.push(send(proxy, post("/search", "multipart/form-data", copy(0))).await); // without a boundary
        answers
    })
    .await;
    for answer in answers {
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{answer:?}");
        assert!(!json(&answer)["error"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_missing_image_is_404_through_the_proxy() {
    let answer = behind_the_proxy(&INDEX, async |proxy| send(proxy, get("/image/none.jpg")).await).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(json(&answer)["error"], "No such image");
}

#[tokio::test]
async fn an_escaped_image_name_is_served_through_the_proxy() {
    let folder = Folder::new("escaped");
    let name = "100% of a ä?.jpg";
    fs::write(folder.0.join(name), copy(0)).unwrap();
    let index = Arc::new(Index::of_folder(&folder.0, &IndexProgress::hidden()).unwrap().0);
    let image = behind_the_proxy(&index, async |proxy| {
        let answer = json(&send(proxy, post("/search", "image/jpeg", copy(0))).await);
        assert_eq!(answer["result"][0]["filename"], name);
        let url = answer["result"][0]["image"].as_str().unwrap().to_owned();
        send(proxy, get(url.strip_prefix(&format!("http://{proxy}")).unwrap())).await
    })
    .await;
    assert_eq!(image.status(), StatusCode::OK);
    assert_eq!(image.body(), &copy(0));
}

#[tokio::test]
async fn the_service_itself_refuses_too_large_uploads() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let page = Page::new(Arc::clone(&INDEX), &Callers::default());
    let service = search_server::serve(listener, page, PACE, std::future::pending());
    let bound = 25 * 1024 * 1024;
    let answer = async {
        // No image either, but what is within the bound is looked at.
        let within = send(address, post("/search", "image/jpeg", vec![0; bound])).await;
        (
            within.status(),
            send(address, post("/search", "image/jpeg", vec![0; bound + 1]))
                .await
                .status(),
        )
    };
    tokio::select! {
        ended = service => panic!("the service ended: {ended:?}"),
        statuses = answer => assert_eq!(statuses, (StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE)),
    }
}

const FORM: &str = "multipart/form-data; boundary=between";

/// A form as browsers send it: a text field, then the image.
fn form(field: &str, image: &[u8]) -> Vec<u8> {
    let text = "--between\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\nfound this\r\n";
    let head = format!(
        "--between\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"a.jpg\"\r\ncontent-type: image/jpeg\r\n\r\n"
    );
    [text.as_bytes(), head.as_bytes(), image, b"\r\n--between--\r\n"].concat()
}
