//! Figures over time as a picture (SVG).

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A line of a chart: its name and its points, by minutes.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// A chart: its title and its lines.
pub struct Chart<'a> {
    pub title: &'a str,
    pub lines: &'a [Line],
}

const COLOURS: [RGBColor; 5] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
];

/// Draws charts below each other.
pub fn draw(path: &Path, charts: &[Chart<'_>]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("drawing {}: {error}", path.display());
    let root = SVGBackend::new(path, (900, 320 * charts.len() as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let end = points().map(|point| point.0).fold(0.1, f64::max);
        let top = points().map(|point| point.1).fold(1.0, f64::max) * 1.1;
        let mut context = ChartBuilder::on(area)
            .caption(chart.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..top)
            .map_err(|error| failed(&error))?;
        context.configure_mesh().x_desc("minutes").light_line_style(WHITE).draw().map_err(|error| failed(&error))?;
        for (line, colour) in chart.lines.iter().zip(COLOURS) {
            let series = LineSeries::new(line.points.iter().copied(), &colour);
            context
                .draw_series(series)
                .map_err(|error| failed(&error))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
        }
        context
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}
