//! Plans a requested storyboard and makes its tables: they follow from the manifest alone, and the playlist of the
//! default storyboard from its stored JSON table. No source is opened for them.

use bytes::Bytes;
use glimpse_contract::{Code, Key, Manifest, OutputFormat, Problem, Variant, limits};

use crate::error::JobError;
use crate::render::service::{OpenFrameSource, RenderError, RenderService};
use crate::store::{Store, StoreError};
use glimpse_media::image;
use glimpse_media::image::storyboard::{PlanError, StoryboardPlan, TileMap};
use glimpse_media::size::Size;

/// The maximum size of a stored table, in bytes: a hundred tiles have 5 KB.
const MAX_TABLE_BYTES: u64 = 256 * 1024;

impl<S: Store, C: OpenFrameSource> RenderService<S, C> {
    /// The plan of a storyboard with parameters; `None` for the default storyboard, and for other kinds of images. The
    /// sheet and the tables have the same plan, so they agree, whichever is requested first.
    ///
    /// # Errors
    /// `bad_parameter`: the part begins after the end of the video, or the sheet would be too large.
    pub(super) fn plan_storyboard(
        variant: Variant,
        manifest: &Manifest,
    ) -> Result<Option<StoryboardPlan>, Problem> {
        let Some(board) = variant.storyboard().filter(|_| !variant.parameters().is_empty()) else {
            return Ok(None);
        };
        let source = &manifest.source;
        if source.duration_ms > 0 && board.start_ms >= source.duration_ms {
            let detail = "The parameter `asset_start_time` is after the end of the video.";
            return Err(Problem::with_detail(Code::BadParameter, detail));
        }
        let display_size = Size { width: source.width, height: source.height };
        StoryboardPlan::new(&board, display_size, source.duration_ms)
            .map(Some)
            .map_err(|error| Problem::with_detail(Code::BadParameter, rejection_detail(error)))
    }

    /// The table of a storyboard; `None` if the variant is no table.
    ///
    /// # Errors
    /// A failed read of the default storyboard's table, or `not_found` if there is none.
    pub(super) async fn make_table(
        &self,
        variant: Variant,
        manifest: &Manifest,
        board: Option<&StoryboardPlan>,
    ) -> Result<Option<Bytes>, RenderError> {
        let sheet = variant.storyboard_as(OutputFormat::Jpg).filter(|_| variant.format().is_table());
        let Some(sheet) = sheet.filter(|_| !variant.is_default()) else { return Ok(None) };
        let query = sheet.query();
        let question_mark = if query.is_empty() { "" } else { "?" };
        let sheet_url = [sheet.base_name().as_str(), question_mark, &query].concat();
        let stored;
        let tile_map = if let Some(board) = board {
            &board.tile_map
        } else {
            stored = self.read_default_table(variant, manifest).await?;
            &stored
        };
        image::encode_table(variant.format(), tile_map, &sheet_url)
            .map(Some)
            .map_err(|error| JobError::internal(error).into())
    }

    /// The default storyboard's table, as it was published: an earlier version may have arranged it in another way.
    async fn read_default_table(
        &self,
        variant: Variant,
        manifest: &Manifest,
    ) -> Result<TileMap, RenderError> {
        let json = variant.storyboard_as(OutputFormat::Json).ok_or_else(|| Problem::new(Code::NotFound))?;
        match self.store.get(&Key::Output(manifest.video, json), MAX_TABLE_BYTES).await {
            Ok((_, bytes)) => TileMap::from_json(&bytes)
                .ok_or_else(|| JobError::internal("the stored storyboard table is invalid").into()),
            Err(StoreError::NotFound) => Err(Problem::new(Code::NotFound).into()),
            Err(error) => Err(JobError::storage(error).into()),
        }
    }
}

fn rejection_detail(error: PlanError) -> String {
    match error {
        PlanError::TooManyTiles(error) => format!(
            "The parameter `interval` leads to {} tiles: at most {}, so it must be at least {} for this video.",
            error.count,
            limits::MAX_TILES,
            error.min_interval_ms.div_ceil(10) as f64 / 100.0
        ),
        PlanError::TooManyPixels { count, tile } => format!(
            "A sheet of {count} tiles of {}x{} is too large: at most {} pixels, as in 4096x4096. Request fewer or \
             smaller tiles.",
            tile.width,
            tile.height,
            limits::MAX_SHEET_PIXELS
        ),
    }
}
