/* Runs ffmpeg or ffprobe, by the name it is called by. One file contains both, since they share all but a percent of their
 * code; bin/ffprobe is a link to bin/ffmpeg. build.sh renames the main function of each program and makes all its other
 * symbols local. */

#include <string.h>

int ffmpeg_main(int count, char **words);
int ffprobe_main(int count, char **words);

int main(int count, char **words)
{
    const char *name = count > 0 ? words[0] : "";
    const char *slash = strrchr(name, '/');

    return strcmp(slash ? slash + 1 : name, "ffprobe") ? ffmpeg_main(count, words) : ffprobe_main(count, words);
}
