//! QR codes as pictures, which a parent's phone scans to bind a toy.

use std::io::Cursor;

use image::{GrayImage, ImageFormat, Luma};
use qrcode::{Color, QrCode};

/// The white margin that scanners need, in modules.
const QUIET_ZONE: u32 = 4;

/// The smallest picture, in pixels: sharp on a phone held to a screen.
const MIN_PIXELS: u32 = 300;

/// Why a QR code could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum QrError {
    /// The text does not fit: about 2,300 bytes do.
    #[error("the text is too long for a QR code")]
    TooLong(#[from] qrcode::types::QrError),
    /// The picture could not be written.
    #[error("the QR code could not be drawn")]
    Picture(#[from] image::ImageError),
}

/// `text` as a square black and white PNG of at least 300 pixels.
///
/// # Errors
/// [`QrError::TooLong`] when the text does not fit.
pub fn png(text: &str) -> Result<Vec<u8>, QrError> {
    write(text, ImageFormat::Png)
}

/// `text` as a square JPEG of at least 300 pixels, for displays without PNG.
///
/// # Errors
/// [`QrError::TooLong`] when the text does not fit.
pub fn jpeg(text: &str) -> Result<Vec<u8>, QrError> {
    write(text, ImageFormat::Jpeg)
}

fn write(text: &str, format: ImageFormat) -> Result<Vec<u8>, QrError> {
    let mut file = Cursor::new(Vec::new());
    draw(&QrCode::new(text)?).write_to(&mut file, format)?;
    Ok(file.into_inner())
}

fn draw(code: &QrCode) -> GrayImage {
    let modules = code.width() as u32;
    let scale = MIN_PIXELS.div_ceil(modules + 2 * QUIET_ZONE);
    let side = (modules + 2 * QUIET_ZONE) * scale;
    let colors = code.to_colors();
    GrayImage::from_fn(side, side, |x, y| {
        let module = |pixel: u32| (pixel / scale).checked_sub(QUIET_ZONE).filter(|m| *m < modules);
        let dark = module(x)
            .zip(module(y))
            .and_then(|(column, row)| colors.get((row * modules + column) as usize))
            .is_some_and(|color| *color == Color::Dark);
        Luma([if dark { 0 } else { 255 }])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "https://hub.example/bind?key=7f3a-91c2&name=Bär";

    fn read_back(file: &[u8], format: ImageFormat) -> String {
        let picture = image::load_from_memory_with_format(file, format).unwrap().to_luma8();
        assert_eq!(picture.width(), picture.height());
        assert!(picture.width() >= MIN_PIXELS);
        assert!(picture.get_pixel(0, 0)[0] > 240, "the margin is white");
        let mut picture = rqrr::PreparedImage::prepare(picture);
        let grids = picture.detect_grids();
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_scanner_reads_the_text_from_both_kinds_of_picture() {
        assert_eq!(read_back(&png(TEXT).unwrap(), ImageFormat::Png), TEXT);
        assert_eq!(read_back(&jpeg(TEXT).unwrap(), ImageFormat::Jpeg), TEXT);
    }

    #[test]
    fn the_empty_text_is_drawn_and_an_endless_one_refused() {
        assert!(png("").is_ok());
        assert!(matches!(png(&"x".repeat(5_000)), Err(QrError::TooLong(_))));
    }
}
