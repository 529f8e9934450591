export function needsParts(size: number): boolean;
export function partSize(size: number): number;
export function partBytes(number: number, size: number): number;
