// Decides which player scrubs our storyboard in a story: Media Chrome, whose time range shows a track of thumbnails.

import "media-chrome";
