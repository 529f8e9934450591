// Decides which scenarios a generation goes through, and how it proves there who it is.
//
// | | v4, v5 | v6 |
// |---|---|---|
// | bearer token in a header | all scenarios | only in `signRequest`: its Companion mode can set no header |
// | token in the path | not needed | all scenarios |
// | session cookie, same origin | web's own story | one clip |
// | another URL when one has expired | by itself | when the person presses retry |
// | the problem's own words | yes | only in `signRequest` |

import { multipart } from "./multipart.mjs";
import { names } from "./names.mjs";
import { refusals } from "./refusals.mjs";
import { reload } from "./reload.mjs";
import { single } from "./single.mjs";
import { sizes } from "./sizes.mjs";
import { lost, trouble } from "./trouble.mjs";

const ALL = [...single, ...multipart, ...reload, ...trouble, ...names, ...sizes, ...refusals];
const [CLIP] = single;

/** What signs a request is an app's own function there: the calls of S3 itself are what is new. */
const [REFUSED] = refusals;
/** A multipart upload is begun there without a word about its type, so none can be refused. */
const SIGNED = [CLIP, ...multipart, ...names, REFUSED, ...lost];

const PLANS = {
  v4: [["bearer", ALL]],
  v5: [["bearer", ALL]],
  v6: [["path", [...ALL, ...lost]], ["slash", [CLIP]], ["cookie", [CLIP]], ["sign", SIGNED]],
};

/** `[way, sentence, act]` in order. `GLIMPSE_STEPS` picks those whose `way: sentence` contains it. */
export function scenarios(generation) {
  const wanted = process.env.GLIMPSE_STEPS ?? "";
  return PLANS[generation]
    .flatMap(([way, steps]) => steps.map(([sentence, act]) => [way, sentence, act]))
    .filter(([way, sentence]) => `${way}: ${sentence}`.includes(wanted));
}
