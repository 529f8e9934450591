// The player for the storyboard test: Media Chrome, whose time range shows thumbnail tracks.

import "media-chrome";
