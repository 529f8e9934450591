// JSX types of the elements are in jsx.d.ts; at run time there is nothing.
export {};
