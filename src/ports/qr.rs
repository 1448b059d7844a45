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

/// `text` for a terminal: two rows of modules in a line, black on white whatever the colours of the terminal are.
///
/// # Errors
/// [`QrError::TooLong`] when the text does not fit.
pub fn terminal(text: &str) -> Result<String, QrError> {
    let code = QrCode::new(text)?;
    let (modules, colors) = (code.width() as i32, code.to_colors());
    let margin = QUIET_ZONE as i32;
    let is_dark = |x: i32, y: i32| {
        let is_inside = (0..modules).contains(&x) && (0..modules).contains(&y);
        is_inside && colors[(y * modules + x) as usize] == Color::Dark
    };
    let mut lines = String::new();
    for y in (-margin..modules + margin).step_by(2) {
        lines.push_str("\u{1b}[30;107m");
        lines.extend((-margin..modules + margin).map(|x| match (is_dark(x, y), is_dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
        lines.push_str("\u{1b}[0m\n");
    }
    Ok(lines)
}

/// A QR code as one path, which is sharp at any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The length of a side in modules, with the white margin.
    pub side: u32,
    /// The dark modules, as the data of a path of SVG in modules.
    pub path: String,
}

/// `text` as a path.
///
/// # Errors
/// [`QrError::TooLong`] when the text does not fit.
pub fn outline(text: &str) -> Result<Outline, QrError> {
    let code = QrCode::new(text)?;
    let (modules, colors) = (code.width(), code.to_colors());
    let mut path = String::new();
    for (row, line) in colors.chunks(modules).enumerate() {
        // One rectangle for each run of dark modules.
        let mut column = 0;
        while column < modules {
            let run = line[column..].iter().take_while(|color| **color == Color::Dark).count();
            if run > 0 {
                let (x, y) = (column + QUIET_ZONE as usize, row + QUIET_ZONE as usize);
                path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
            }
            column += run.max(1);
        }
    }
    Ok(Outline { side: modules as u32 + 2 * QUIET_ZONE, path })
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
    fn the_path_has_the_dark_modules_of_the_picture() {
        let (outline, code) = (outline(TEXT).unwrap(), QrCode::new(TEXT).unwrap());
        assert_eq!(outline.side, code.width() as u32 + 8);
        let runs = outline.path.split('M').skip(1).map(|run| {
            let numbers: Vec<usize> =
                run.split([' ', 'h', 'v', 'z']).filter_map(|number| number.parse().ok()).collect();
            (numbers[0], numbers[1], numbers[2])
        });
        let mut dark = vec![Color::Light; code.width() * code.width()];
        for (x, y, length) in runs {
            let start = (y - 4) * code.width() + x - 4;
            dark[start..start + length].fill(Color::Dark);
        }
        assert!(dark == code.to_colors());
    }

    #[test]
    fn a_terminal_shows_the_modules_two_rows_in_a_line() {
        let (shown, code) = (terminal(TEXT).unwrap(), QrCode::new(TEXT).unwrap());
        let mut rows = Vec::new();
        for line in shown.lines() {
            let signs = line.strip_prefix("\u{1b}[30;107m").unwrap().strip_suffix("\u{1b}[0m").unwrap();
            rows.push(signs.chars().map(|sign| "█▀".contains(sign)).collect::<Vec<_>>());
            rows.push(signs.chars().map(|sign| "█▄".contains(sign)).collect::<Vec<_>>());
        }
        let is_light = |row: &Vec<bool>| row.iter().all(|is_dark| !is_dark);
        assert!(rows[..4].iter().all(is_light) && rows[4 + code.width()..].iter().all(is_light), "the margin");
        let inside = rows[4..4 + code.width()].iter().flat_map(|row| &row[4..4 + code.width()]);
        let dark: Vec<Color> = inside.map(|is_dark| if *is_dark { Color::Dark } else { Color::Light }).collect();
        assert!(dark == code.to_colors());
    }

    #[test]
    fn the_empty_text_is_drawn_and_an_endless_one_refused() {
        assert!(png("").is_ok());
        assert!(matches!(png(&"x".repeat(5_000)), Err(QrError::TooLong(_))));
    }
}
