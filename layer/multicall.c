/* Decides which of the two programs runs: the name that it is called by. One file holds both, since they are the same
 * libraries but for a percent; bin/ffprobe is a link to bin/ffmpeg. build.sh renames each program's main and makes every
 * other name of it its own. */

#include <string.h>

int ffmpeg_main(int count, char **words);
int ffprobe_main(int count, char **words);

int main(int count, char **words)
{
    const char *name = count > 0 ? words[0] : "";
    const char *slash = strrchr(name, '/');

    return strcmp(slash ? slash + 1 : name, "ffprobe") ? ffmpeg_main(count, words) : ffprobe_main(count, words);
}
