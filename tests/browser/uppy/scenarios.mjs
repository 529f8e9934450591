// The scenarios of each Uppy version, and the credentials that it uses in them.
//
// | | v4, v5 | v6 |
// |---|---|---|
// | bearer token in a header | all scenarios | only in `signRequest`: its Companion mode cannot set headers |
// | token in the path | not needed | all scenarios |
// | session cookie, same origin | covered by the page's test | one clip |
// | another URL when one has expired | automatic | when the user presses retry |
// | the problem's message | yes | only in `signRequest` |

import { multipart } from "./multipart.mjs";
import { names } from "./names.mjs";
import { refusals } from "./refusals.mjs";
import { reload } from "./reload.mjs";
import { single } from "./single.mjs";
import { sizes } from "./sizes.mjs";
import { lost, lostForApps, trouble } from "./trouble.mjs";

const ALL = [...single, ...multipart, ...reload, ...trouble, ...names, ...sizes, ...refusals];
const [CLIP] = single;

/** In this mode a function of the app signs the requests: only the calls to S3 itself differ. */
const [REFUSED] = refusals;
/** In this mode a multipart upload is created without a type, so no type can be rejected. */
const SIGNED = [CLIP, ...multipart, ...names, REFUSED, ...lost];

const PLANS = {
  v4: [["bearer", [...ALL, ...lostForApps]]],
  v5: [["bearer", [...ALL, ...lostForApps]]],
  v6: [["path", [...ALL, ...lost]], ["slash", [CLIP]], ["cookie", [CLIP]], ["sign", SIGNED]],
};

/** `[way, sentence, act]` in order. `GLIMPSE_STEPS` selects those whose `way: sentence` contains its value. */
export function scenarios(generation) {
  const wanted = process.env.GLIMPSE_STEPS ?? "";
  return PLANS[generation]
    .flatMap(([way, steps]) => steps.map(([sentence, act]) => [way, sentence, act]))
    .filter(([way, sentence]) => `${way}: ${sentence}`.includes(wanted));
}
