//! One plot: what an exchange costs beside its floor, and how many a second each service does.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::measure::Figures;

const SIZE: (u32, u32) = (960, 640);
const OURS: RGBColor = RGBColor(33, 102, 172);
const FLOOR: RGBColor = RGBColor(146, 197, 222);
const OTHERS: RGBColor = RGBColor(178, 178, 178);

/// A bar with its name.
struct Bar {
    name: String,
    value: f64,
    color: RGBColor,
    /// A part of the bar, drawn in the colour of the floor.
    floor: f64,
}

/// Writes the plot.
///
/// # Errors
/// When the file cannot be written.
pub fn plot(figures: &Figures, path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = draw(figures, &area);
    drawn.and_then(|()| area.present().map_err(|error| anyhow!("{error}")))
}

fn draw(figures: &Figures, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> anyhow::Result<()> {
    area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    let (above, below) = area.split_vertically(SIZE.1 / 2);
    let cost: Vec<Bar> = figures
        .exchanges
        .iter()
        .map(|named| Bar {
            name: named.name.clone(),
            value: named.exchanges.cpu_us.median(),
            color: OURS,
            floor: named.exchanges.floor_us.median(),
        })
        .collect();
    bars(&above, "server CPU per exchange, in µs; light: one signature check and one signature", &cost)?;
    let ours = figures.exchanges.iter().map(|named| (named.name.clone(), named.exchanges.per_second.median(), OURS));
    let levels = figures.levels.iter().map(|level| {
        (format!("PostgreSQL, {} live tokens", level.live_tokens), level.exchanges.per_second.median(), OURS)
    });
    let peers = figures.peers.iter().map(|peer| (peer.peer.name.to_owned(), peer.per_second.median(), OTHERS));
    let throughput: Vec<Bar> =
        ours.chain(levels).chain(peers).map(|(name, value, color)| Bar { name, value, color, floor: 0.0 }).collect();
    bars(&below, "exchanges per second, the load on the same two cores", &throughput)
}

/// Horizontal bars, the first on top.
fn bars(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, title: &str, bars: &[Bar]) -> anyhow::Result<()> {
    if bars.is_empty() {
        return Ok(());
    }
    let greatest = bars.iter().map(|bar| bar.value.max(bar.floor)).fold(1.0, f64::max);
    let (rows, to_error) = (bars.len() as f64, |error| anyhow!("{error}"));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 240)
        .set_label_area_size(LabelAreaPosition::Bottom, 24)
        .build_cartesian_2d(0.0..greatest * 1.12, 0.0..rows)
        .map_err(|error| anyhow!("{error}"))?;
    chart.configure_mesh().disable_y_mesh().y_labels(0).x_labels(8).draw().map_err(|error| anyhow!("{error}"))?;
    for (index, bar) in bars.iter().enumerate() {
        let top = rows - index as f64 - 0.15;
        let bottom = rows - index as f64 - 0.85;
        let rectangles = [
            Rectangle::new([(0.0, bottom), (bar.value, top)], bar.color.filled()),
            Rectangle::new([(0.0, bottom), (bar.floor, top)], FLOOR.filled()),
        ];
        chart.draw_series(rectangles).map_err(|error| anyhow!("{error}"))?;
        let label =
            Text::new(format!("{:.0}", bar.value), (bar.value + greatest * 0.01, top - 0.1), ("sans-serif", 13));
        chart.draw_series([label]).map_err(|error| anyhow!("{error}"))?;
        let (x, y) = chart.backend_coord(&(0.0, f64::midpoint(top, bottom)));
        let style = ("sans-serif", 13).into_font().color(&BLACK);
        let style = style.pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Right,
            plotters::style::text_anchor::VPos::Center,
        ));
        let (left, above) = area.get_base_pixel();
        area.draw_text(&bar.name, &style, (x - left - 8, y - above)).map_err(to_error)?;
    }
    Ok(())
}
